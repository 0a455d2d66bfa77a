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

{{/* Fails if the policies could not name external services, because workers would reach every address on these ports. */}}
{{- define "vaultstream.network.check" -}}
{{- if and .Values.networkPolicy.enabled (eq .Values.services "external") -}}
{{- range $value, $server := dict "postgresTo" "Postgres" "natsTo" "NATS" -}}
{{- if not (get $.Values.external $value) -}}
{{- fail (printf "external.%s is empty, so the NetworkPolicies can not name your %s; set it to its addresses or pods, such as [{ipBlock: {cidr: 192.0.2.0/24}}], or to [{ipBlock: {cidr: 0.0.0.0/0}}] for every IPv4 address" $value $server) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Rule that allows TCP to peers. Takes a map with `to`, a list of peers (empty: every address), and `ports`. */}}
{{- define "vaultstream.network.rule" -}}
- ports:
    {{- include "vaultstream.network.ports" .ports | nindent 4 }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Rule that allows the API server. */}}
{{- define "vaultstream.network.toApiServer" -}}
{{- include "vaultstream.network.rule" (dict "to" .Values.networkPolicy.apiServerTo "ports" .Values.networkPolicy.apiServerPorts) -}}
{{- end -}}

{{/* Rules that allow a client DNS, Postgres and NATS. */}}
{{- define "vaultstream.network.toServices" -}}
- ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - port: {{ int . }}
      protocol: UDP
    - port: {{ int . }}
      protocol: TCP
    {{- end }}
  {{- with .Values.networkPolicy.dnsTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
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
{{ include "vaultstream.network.rule" (dict "to" .Values.external.postgresTo "ports" .Values.external.postgresPorts) }}
{{ include "vaultstream.network.rule" (dict "to" .Values.external.natsTo "ports" .Values.external.natsPorts) }}
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
