{{/* Refuses times that the operator refuses when it starts: 5 s to finish what is in hand, and 5 s of margin. */}}
{{- define "vaultstream.workers.check" -}}
{{- $least := add .Values.workers.preStopSeconds 10 -}}
{{- if lt (int64 .Values.workers.terminationGracePeriodSeconds) $least -}}
{{- fail (printf "workers.terminationGracePeriodSeconds must be at least %d, which is workers.preStopSeconds and 10 s for a worker to finish what it has in hand; give more, or lower workers.preStopSeconds" $least) -}}
{{- end -}}
{{- end -}}
