{{/* Fails for times that the operator would refuse when it starts: 5 s to finish batches in flight, and 5 s of margin. */}}
{{- define "vaultstream.workers.check" -}}
{{- $least := add .Values.workers.preStopSeconds 10 -}}
{{- if lt (int64 .Values.workers.terminationGracePeriodSeconds) $least -}}
{{- fail (printf "workers.terminationGracePeriodSeconds must be at least %d, which is workers.preStopSeconds plus 10 s for a worker to finish its batches in flight; increase it, or lower workers.preStopSeconds" $least) -}}
{{- end -}}
{{- end -}}

{{/* Additional environment of workers, as JSON: that of the values, and who attests checkpoints. */}}
{{- define "vaultstream.workers.env" -}}
{{- $env := deepCopy .Values.workers.extraEnv -}}
{{- range $variable, $value := dict "WITNESSES" "witnesses" "TIMESTAMP_URL" "timestampUrl" "TIMESTAMP_CA" "timestampCa" -}}
{{- with get $.Values.attestation $value -}}
{{- $_ := set $env (printf "VAULTSTREAM_%s" $variable) . -}}
{{- end -}}
{{- end -}}
{{- toRawJson $env -}}
{{- end -}}

{{/* Fails if checkpoints could not be attested, because a certificate or an address is missing. */}}
{{- define "vaultstream.attestation.check" -}}
{{- with .Values.attestation -}}
{{- if and .timestampUrl (not .timestampCa) -}}
{{- fail "attestation.timestampUrl is set and attestation.timestampCa is empty; set it to the certificate of the authority's root, as PEM" -}}
{{- end -}}
{{- if and $.Values.networkPolicy.enabled (or .witnesses .timestampUrl) (not .to) -}}
{{- fail "attestation.to is empty, so the NetworkPolicy can not name the witnesses and the authority of timestamps; set it to their addresses, such as [{ipBlock: {cidr: 192.0.2.0/24}}], or to [{ipBlock: {cidr: 0.0.0.0/0}}] for every IPv4 address" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
A value that shapes the workers' pods, as the JSON object {"value": ...}. The values of a release from before it was added lack it, after
`helm upgrade --reuse-values`: it then has its default. Takes a list: the root, the key.
*/}}
{{- define "vaultstream.workers.value" -}}
{{- $pod := dict "runAsNonRoot" true "runAsUser" 65532 "runAsGroup" 65532 "fsGroup" 65532 "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- $container := include "vaultstream.containerSecurityContext" . | fromYaml -}}
{{- $defaults := dict "podSecurityContext" $pod "securityContext" $container "podLabels" dict "podAnnotations" dict "nodeSelector" dict "tolerations" list "affinity" dict "resources" dict "priorityClassName" "" -}}
{{- $key := index . 1 -}}
{{- $workers := (index . 0).Values.workers -}}
{{- toRawJson (dict "value" (hasKey $workers $key | ternary (get $workers $key) (get $defaults $key))) -}}
{{- end -}}

{{/* How the workers' pods are shaped, as JSON. */}}
{{- define "vaultstream.workers.shape" -}}
{{- $shape := dict -}}
{{- range $key := list "podSecurityContext" "securityContext" "resources" "podLabels" "podAnnotations" "nodeSelector" "tolerations" "affinity" "priorityClassName" -}}
{{- with get (include "vaultstream.workers.value" (list $ $key) | fromJson) "value" -}}
{{- $_ := set $shape $key . -}}
{{- end -}}
{{- end -}}
{{- toRawJson $shape -}}
{{- end -}}
