{{/* Pods of a component of this release, as a peer in its namespace. Takes a map with `root` and `component`. */}}
{{- define "vaultstream.network.component" -}}
podSelector:
  matchLabels:
    {{- include "vaultstream.selector" . | nindent 4 }}
{{- end -}}

{{/* Worker pods of all jobs, as a peer. */}}
{{- define "vaultstream.network.workers" -}}
namespaceSelector:
  matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: In
      values: {{ include "vaultstream.jobNamespaces" . }}
podSelector:
  matchLabels:
    {{- include "vaultstream.workers.selector" . | nindent 4 }}
{{- end -}}

{{/* Labels that the operator sets on worker pods. */}}
{{- define "vaultstream.workers.selector" -}}
app.kubernetes.io/managed-by: vaultstream-operator
app.kubernetes.io/part-of: vaultstream
{{- end -}}

{{/* TCP ports. Takes a list of numbers. */}}
{{- define "vaultstream.network.ports" -}}
{{- $ports := list -}}
{{- range . -}}
{{- $ports = append $ports (dict "port" (int .) "protocol" "TCP") -}}
{{- end -}}
{{- toYaml $ports -}}
{{- end -}}

{{/* Rules that allow a client DNS, Postgres and NATS. */}}
{{- define "vaultstream.network.toServices" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- if eq .Values.services "bundled" }}
{{- range $server, $port := dict "postgres" 5432 "nats" 4222 }}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ $.Release.Namespace }}
      {{- include "vaultstream.network.component" (dict "root" $ "component" $server) | nindent 6 }}
  ports:
    {{- include "vaultstream.network.ports" (list $port) | nindent 4 }}
{{- end }}
{{- else }}
- ports:
    {{- include "vaultstream.network.ports" (concat .Values.external.postgresPorts .Values.external.natsPorts) | nindent 4 }}
{{- end }}
{{- end -}}

{{/* Rule that allows reading metrics. */}}
{{- define "vaultstream.network.metrics" -}}
- ports:
    {{- include "vaultstream.network.ports" (list 8080) | nindent 4 }}
  {{- with .Values.networkPolicy.metricsFrom }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Clients of the bundled services: pods of this release, selected by their labels, and workers. */}}
{{- define "vaultstream.network.clients" -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/name: {{ include "vaultstream.name" . }}
      app.kubernetes.io/instance: {{ .Release.Name }}
- {{ include "vaultstream.network.workers" . | nindent 2 | trim }}
{{- end -}}
