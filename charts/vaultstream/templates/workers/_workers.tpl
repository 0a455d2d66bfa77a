{{/* Fails for times that the operator would refuse when it starts: 5 s to finish batches in flight, and 5 s of margin. */}}
{{- define "vaultstream.workers.check" -}}
{{- $least := add .Values.workers.preStopSeconds 10 -}}
{{- if lt (int64 .Values.workers.terminationGracePeriodSeconds) $least -}}
{{- fail (printf "workers.terminationGracePeriodSeconds must be at least %d, which is workers.preStopSeconds plus 10 s for a worker to finish its batches in flight; increase it, or lower workers.preStopSeconds" $least) -}}
{{- end -}}
{{- end -}}
