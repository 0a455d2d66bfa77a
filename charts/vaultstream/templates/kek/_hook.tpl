{{/*
Annotations of objects that exist before an installation or upgrade and are deleted when the key-encryption keys exist.
Takes a map with `root` and `weight`. Hooks with a lower weight run first.
*/}}
{{- define "vaultstream.kek.hook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{/* Metadata of such an object. Takes a map with `root` and `weight`; optionally `namespace`, which defaults to the release's. */}}
{{- define "vaultstream.kek.metadata" -}}
{{- $annotations := include "vaultstream.kek.hook" . | fromYaml -}}
{{- $own := dict "root" .root "component" "kek" "annotations" (merge $annotations (default dict .annotations)) -}}
{{- $_ := set $own "name" (default (printf "%s-kek" (include "vaultstream.fullname" .root)) .name) -}}
{{- $_ := set $own "namespace" (default .root.Release.Namespace .namespace) -}}
{{- include "vaultstream.metadata" $own -}}
{{- end -}}

{{/*
Labels of the Secret. They are permanent, so they contain nothing that another version would change. They are those of the
workers, by which the remains of an uninstalled release are found.
*/}}
{{- define "vaultstream.kek.secretLabels" -}}
{{- $own := include "vaultstream.selector" (dict "root" . "component" "worker") | fromYaml -}}
{{- toYaml (merge $own (dict "app.kubernetes.io/part-of" "vaultstream") .Values.commonLabels) -}}
{{- end -}}

{{/* Annotations of the Secret: no tool that installs the release may remove it. */}}
{{- define "vaultstream.kek.secretAnnotations" -}}
{{- $own := dict "helm.sh/resource-policy" "keep" -}}
{{- $_ := set $own "argocd.argoproj.io/compare-options" "IgnoreExtraneous" -}}
{{- $_ := set $own "argocd.argoproj.io/sync-options" "Prune=false,Delete=false" -}}
{{- toYaml (merge $own .Values.commonAnnotations) -}}
{{- end -}}
