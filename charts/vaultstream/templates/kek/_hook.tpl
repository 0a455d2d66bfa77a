{{/*
Annotations of objects that exist before an installation or upgrade and are deleted when the Secrets of keys exist.
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

{{/* Names of the Secrets that the Job creates, as a JSON array. */}}
{{- define "vaultstream.kek.secrets" -}}
{{- $names := list -}}
{{- if not .Values.kek.existingSecret -}}{{- $names = append $names (include "vaultstream.kekSecret" .) -}}{{- end -}}
{{- if not .Values.sealKey.existingSecret -}}{{- $names = append $names (include "vaultstream.sealKeySecret" .) -}}{{- end -}}
{{- toRawJson $names -}}
{{- end -}}

{{/* A container that creates one kind of Secret in each namespace. Takes a map with `root`, `command` and `secret`, and optionally `options`. */}}
{{- define "vaultstream.kek.container" -}}
- name: {{ .command }}
  image: {{ include "vaultstream.image" .root }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  args:
    - {{ .command }}
    - create-secret
    - {{ .secret }}
    {{- range .options }}
    - {{ . }}
    {{- end }}
    {{- range include "vaultstream.presentNamespaces" .root | fromJsonArray }}
    - --namespace={{ . }}
    {{- end }}
    {{- range $name, $value := include "vaultstream.kek.secretLabels" .root | fromYaml }}
    - {{ printf "--label=%s=%s" $name $value | quote }}
    {{- end }}
    {{- range $name, $value := include "vaultstream.kek.secretAnnotations" .root | fromYaml }}
    - {{ printf "--annotation=%s=%s" $name $value | quote }}
    {{- end }}
  resources:
    {{- toYaml .root.Values.migration.resources | nindent 4 }}
  securityContext:
    {{- include "vaultstream.containerSecurityContext" .root | nindent 4 }}
  volumeMounts:
    - name: tmp
      mountPath: /tmp
{{- end -}}

{{/*
Labels of the Secrets. They are permanent, so they contain nothing that another version would change. They are those of the
workers, by which the remains of an uninstalled release are found.
*/}}
{{- define "vaultstream.kek.secretLabels" -}}
{{- $own := include "vaultstream.selector" (dict "root" . "component" "worker") | fromYaml -}}
{{- toYaml (merge $own (dict "app.kubernetes.io/part-of" "vaultstream") .Values.commonLabels) -}}
{{- end -}}

{{/* Annotations of the Secrets: no tool that installs the release may remove it. */}}
{{- define "vaultstream.kek.secretAnnotations" -}}
{{- $own := dict "helm.sh/resource-policy" "keep" -}}
{{- $_ := set $own "argocd.argoproj.io/compare-options" "IgnoreExtraneous" -}}
{{- $_ := set $own "argocd.argoproj.io/sync-options" "Prune=false,Delete=false" -}}
{{- toYaml (merge $own .Values.commonAnnotations) -}}
{{- end -}}
