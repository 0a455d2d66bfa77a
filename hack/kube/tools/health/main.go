// Health prints what Argo CD and Flux make of each object on its input: it reads JSON objects, and writes a line of JSON with both
// verdicts for each. Its arguments are two files: a health check of Argo CD in Lua, and one of Flux as JSON, with expressions in CEL.
//
// Flux's verdict comes from its own library. Argo CD's program is too large to build for a test: its Lua interpreter is used with
// the few libraries that Argo CD opens (util/lua/lua.go).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type argoVerdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

type verdicts struct {
	Argo argoVerdict `json:"argo"`
	Flux string      `json:"flux"`
}

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

// run stops at the first object that Argo CD can't judge.
func run(files []string, in io.Reader, out io.Writer) error {
	if len(files) != 2 {
		return errors.New("usage: health CHECK.lua EXPRESSIONS.json")
	}
	script, err := os.ReadFile(files[0])
	if err != nil {
		return err
	}
	flux, err := fluxCheck(files[1])
	if err != nil {
		return err
	}
	objects, lines := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var object unstructured.Unstructured
		if err := objects.Decode(&object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var found verdicts
		if found.Argo, err = argo(string(script), object.Object); err != nil {
			return err
		}
		if result, err := flux.Evaluate(context.Background(), &object); err != nil {
			found.Flux = "Unknown" // such as a status that does not exist yet; Flux waits
		} else {
			found.Flux = string(result.Status)
		}
		if err := lines.Encode(found); err != nil {
			return err
		}
	}
}

func fluxCheck(path string) (*cel.StatusEvaluator, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var expressions kustomize.HealthCheckExpressions
	if err := json.Unmarshal(text, &expressions); err != nil {
		return nil, err
	}
	return cel.NewStatusEvaluator(&expressions)
}

// argo runs a health check as Argo CD does: the object is the global `obj`, and the script returns a table.
func argo(script string, object map[string]any) (argoVerdict, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		call := lua.P{Fn: state.NewFunction(open), Protect: true}
		if err := state.CallByParam(call, lua.LString(name)); err != nil {
			return argoVerdict{}, err
		}
	}
	state.SetGlobal("obj", value(state, object))
	if err := state.DoString(script); err != nil {
		return argoVerdict{}, err
	}
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return argoVerdict{}, errors.New("the health check returns no table")
	}
	return argoVerdict{lua.LVAsString(table.RawGetString("status")), lua.LVAsString(table.RawGetString("message"))}, nil
}

func value(state *lua.LState, from any) lua.LValue {
	switch from := from.(type) {
	case bool:
		return lua.LBool(from)
	case string:
		return lua.LString(from)
	case int64:
		return lua.LNumber(from)
	case float64:
		return lua.LNumber(from)
	case []any:
		table := state.CreateTable(len(from), 0)
		for _, each := range from {
			table.Append(value(state, each))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(from))
		for name, each := range from {
			table.RawSetString(name, value(state, each))
		}
		return table
	}
	return lua.LNil
}
