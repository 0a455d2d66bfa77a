{{/* Labels that select the pods of a component. Takes a map with `root` and `component`. */}}
{{- define "vaultstream.selector" -}}
app.kubernetes.io/name: {{ include "vaultstream.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/*
Labels of an object. Takes a map with `root`; optionally `component`, and `labels`, which override the others because
something selects by them. `commonLabels` override nothing.
*/}}
{{- define "vaultstream.labels" -}}
{{- $own := dict "app.kubernetes.io/name" (include "vaultstream.name" .root) "app.kubernetes.io/instance" .root.Release.Name -}}
{{- with .component -}}
{{- $_ := set $own "app.kubernetes.io/component" . -}}
{{- end -}}
{{- $_ := set $own "app.kubernetes.io/version" .root.Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "vaultstream" -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- toYaml (merge (dict) (default dict .labels) $own .root.Values.commonLabels) -}}
{{- end -}}

{{/*
Metadata of an object. Takes a map with `root` and `name`; optionally `component`, `namespace` (not for cluster-scoped
objects), `labels` and `annotations`.
*/}}
{{- define "vaultstream.metadata" -}}
name: {{ .name }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "vaultstream.labels" . | nindent 2 }}
{{- with mergeOverwrite (dict) .root.Values.commonAnnotations (default dict .annotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Labels of the pods of a component. Takes a map with `root`, `component` and `podLabels`. */}}
{{- define "vaultstream.podLabels" -}}
{{- $own := include "vaultstream.selector" . | fromYaml -}}
{{- $fixed := merge $own (dict "app.kubernetes.io/part-of" "vaultstream") .root.Values.commonLabels -}}
{{- toYaml (merge $fixed .podLabels) -}}
{{- end -}}
