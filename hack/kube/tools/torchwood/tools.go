//go:build tools

package tools

import (
	_ "filippo.io/torchwood/cmd/litewitness"
)
