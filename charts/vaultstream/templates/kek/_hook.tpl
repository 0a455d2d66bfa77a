{{/*
What is there before an installation and an upgrade, and goes when the key-encryption keys are made. Takes a map with
`root` and `weight`; of the hooks, those of less weight come first.
*/}}
{{- define "vaultstream.kek.hook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{/* The metadata of such an object. Takes a map with `root` and `weight`; `namespace`, if it is not the release's. */}}
{{- define "vaultstream.kek.metadata" -}}
{{- $annotations := include "vaultstream.kek.hook" . | fromYaml -}}
{{- $own := dict "root" .root "component" "kek" "annotations" (merge $annotations (default dict .annotations)) -}}
{{- $_ := set $own "name" (default (printf "%s-kek" (include "vaultstream.fullname" .root)) .name) -}}
{{- $_ := set $own "namespace" (default .root.Release.Namespace .namespace) -}}
{{- include "vaultstream.metadata" $own -}}
{{- end -}}

{{/*
The labels of the Secret, for good: nothing that the next version would change. They are those of the workers, by which an
uninstalled release's remains are found.
*/}}
{{- define "vaultstream.kek.secretLabels" -}}
{{- $own := include "vaultstream.selector" (dict "root" . "component" "worker") | fromYaml -}}
{{- toYaml (merge $own (dict "app.kubernetes.io/part-of" "vaultstream") .Values.commonLabels) -}}
{{- end -}}

{{/* The annotations of the Secret: whatever tool installs the release is not to remove it. */}}
{{- define "vaultstream.kek.secretAnnotations" -}}
{{- $own := dict "helm.sh/resource-policy" "keep" -}}
{{- $_ := set $own "argocd.argoproj.io/compare-options" "IgnoreExtraneous" -}}
{{- $_ := set $own "argocd.argoproj.io/sync-options" "Prune=false,Delete=false" -}}
{{- toYaml (merge $own .Values.commonAnnotations) -}}
{{- end -}}
