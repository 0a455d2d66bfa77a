{{/* The labels that tell a component's pods from all others. Takes a map with `root` and `component`. */}}
{{- define "vaultstream.selector" -}}
app.kubernetes.io/name: {{ include "vaultstream.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* The labels of an object. Takes a map with `root`, and `component` if it belongs to one. */}}
{{- define "vaultstream.labels" -}}
app.kubernetes.io/name: {{ include "vaultstream.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: vaultstream
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
The metadata of an object. Takes a map with `root` and `name`; `component`, `namespace` (none for a cluster's object),
`labels` and `annotations` if there are any.
*/}}
{{- define "vaultstream.metadata" -}}
name: {{ .name }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "vaultstream.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with mergeOverwrite (dict) .root.Values.commonAnnotations (default dict .annotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The labels of a component's pods. Takes a map with `root`, `component` and `podLabels`. */}}
{{- define "vaultstream.podLabels" -}}
{{- $own := include "vaultstream.selector" . | fromYaml -}}
{{- $fixed := merge $own (dict "app.kubernetes.io/part-of" "vaultstream") .root.Values.commonLabels -}}
{{- toYaml (merge $fixed .podLabels) -}}
{{- end -}}
