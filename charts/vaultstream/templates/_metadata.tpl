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

{{/* Fails if the CustomResourceDefinition belongs to another release, or to none: Helm's own error does not say what to do. */}}
{{- define "vaultstream.crds.check" -}}
{{- if .Values.crds.create -}}
{{- with lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "signingjobs.vaultstream.dev" -}}
{{- $annotations := default dict .metadata.annotations -}}
{{- $name := default "" (get $annotations "meta.helm.sh/release-name") -}}
{{- $namespace := default "" (get $annotations "meta.helm.sh/release-namespace") -}}
{{- if or (ne $name $.Release.Name) (ne $namespace $.Release.Namespace) -}}
{{- $owner := empty $name | ternary "was not installed by Helm" (printf "belongs to the release %s in namespace %s" $name $namespace) -}}
{{- fail (printf "the CustomResourceDefinition signingjobs.vaultstream.dev %s. Set crds.create=false, and let its owner upgrade it; or, if that is gone, take it over: kubectl annotate --overwrite crd signingjobs.vaultstream.dev meta.helm.sh/release-name=%s meta.helm.sh/release-namespace=%s && kubectl label --overwrite crd signingjobs.vaultstream.dev app.kubernetes.io/managed-by=Helm" $owner $.Release.Name $.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
