{{/* Name of the chart, cut to the length of a label. */}}
{{- define "vaultstream.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Full name of the release: the prefix of all object names. */}}
{{- define "vaultstream.fullname" -}}
{{- $name := include "vaultstream.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Fails if the name does not begin with a letter: Services, unlike other objects, may not begin with a digit. */}}
{{- define "vaultstream.services.nameCheck" -}}
{{- $name := include "vaultstream.fullname" . -}}
{{- if not (regexMatch "^[a-z]" $name) -}}
{{- fail (printf "the release name %s does not begin with a letter, as the Services of the bundled Postgres and NATS must; choose another name, or set fullnameOverride" .Release.Name) -}}
{{- end -}}
{{- end -}}

{{/* Namespaces in which SigningJobs may run, as JSON. */}}
{{- define "vaultstream.jobNamespaces" -}}
{{- default (list .Release.Namespace) .Values.jobNamespaces | uniq | toJson -}}
{{- end -}}

{{/*
Those of them that exist and are not being deleted, as JSON, so that one that was deleted does not stop an upgrade for the others. All, where there is no
cluster to ask (helm template), or where none exists yet.
*/}}
{{- define "vaultstream.presentNamespaces" -}}
{{- if not (hasKey .Release "vaultstreamNamespaces") -}}
{{- $all := include "vaultstream.jobNamespaces" . | fromJsonArray -}}
{{- $asked := false -}}
{{- $present := list -}}
{{- range prepend $all .Release.Namespace | uniq -}}
{{- with lookup "v1" "Namespace" "" . -}}
{{- $asked = true -}}
{{- if not .metadata.deletionTimestamp -}}{{- $present = append $present .metadata.name -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $named := list -}}
{{- range $all -}}
{{- if or (not $asked) (has . $present) (eq . $.Release.Namespace) -}}{{- $named = append $named . -}}{{- end -}}
{{- end -}}
{{- $_ := set .Release "vaultstreamNamespaces" $named -}}
{{- end -}}
{{- .Release.vaultstreamNamespaces | toJson -}}
{{- end -}}

{{/* Those of them that do not exist, as JSON. */}}
{{- define "vaultstream.missingNamespaces" -}}
{{- $present := include "vaultstream.presentNamespaces" . | fromJsonArray -}}
{{- $missing := list -}}
{{- range include "vaultstream.jobNamespaces" . | fromJsonArray -}}
{{- if not (has . $present) -}}{{- $missing = append $missing . -}}{{- end -}}
{{- end -}}
{{- $missing | toJson -}}
{{- end -}}

{{/* The label selector of `jobNamespaceSelector`, as in `kubectl get -l`. */}}
{{- define "vaultstream.namespaceSelector" -}}
{{- $terms := list -}}
{{- range $name, $value := .Values.jobNamespaceSelector.matchLabels -}}
{{- $terms = append $terms (printf "%s=%s" $name $value) -}}
{{- end -}}
{{- range .Values.jobNamespaceSelector.matchExpressions -}}
{{- $values := join "," (default list .values) -}}
{{- if has .operator (list "In" "NotIn") -}}
{{- $terms = append $terms (printf "%s %s (%s)" .key (lower .operator) $values) -}}
{{- else -}}
{{- $terms = append $terms (printf "%s%s" (eq .operator "DoesNotExist" | ternary "!" "") .key) -}}
{{- end -}}
{{- end -}}
{{- join "," $terms -}}
{{- end -}}

{{/* Namespaces whose jobs only their own logins see, as JSON. */}}
{{- define "vaultstream.tenants" -}}
{{- if eq .Values.services "bundled" -}}
{{- include "vaultstream.jobNamespaces" . -}}
{{- else -}}
{{- .Values.tenants | uniq | toJson -}}
{{- end -}}
{{- end -}}

{{/* Fails for tenants that are no namespaces of jobs and can't be selected, and for a list that would have no effect. */}}
{{- define "vaultstream.tenants.check" -}}
{{- if eq .Values.services "bundled" -}}
{{- if .Values.tenants -}}
{{- fail "tenants is for external services; with bundled services all of jobNamespaces are tenants: leave tenants empty" -}}
{{- end -}}
{{- end -}}
{{- $namespaces := include "vaultstream.jobNamespaces" . | fromJsonArray -}}
{{- $selector := include "vaultstream.namespaceSelector" . -}}
{{- range .Values.tenants -}}
{{- if not (or $selector (has . $namespaces)) -}}
{{- fail (printf "tenants contains %s, which is not one of jobNamespaces; add it there" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Namespaces with objects of this release, as JSON. */}}
{{- define "vaultstream.allNamespaces" -}}
{{- prepend (include "vaultstream.presentNamespaces" . | fromJsonArray) .Release.Namespace | uniq | toJson -}}
{{- end -}}

{{- define "vaultstream.operator.serviceAccount" -}}
{{- if .Values.operator.serviceAccount.create -}}
{{- default (printf "%s-operator" (include "vaultstream.fullname" .)) .Values.operator.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.operator.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "vaultstream.workers.serviceAccount" -}}
{{- if .Values.workers.serviceAccount.create -}}
{{- default (printf "%s-worker" (include "vaultstream.fullname" .)) .Values.workers.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.workers.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Prefix of the names of the Secrets with URLs and credentials. */}}
{{- define "vaultstream.secretPrefix" -}}
{{- if eq .Values.services "external" -}}
{{- default (include "vaultstream.fullname" .) .Values.external.secretPrefix -}}
{{- else -}}
{{- include "vaultstream.fullname" . -}}
{{- end -}}
{{- end -}}

{{- define "vaultstream.kek.serviceAccount" -}}
{{- if .Values.kek.serviceAccount.create -}}
{{- default (printf "%s-kek" (include "vaultstream.fullname" .)) .Values.kek.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.kek.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "vaultstream.kekSecret" -}}
{{- default (printf "%s-kek" (include "vaultstream.fullname" .)) .Values.kek.existingSecret -}}
{{- end -}}

{{- define "vaultstream.sealKeySecret" -}}
{{- default (printf "%s-seal-key" (include "vaultstream.fullname" .)) .Values.sealKey.existingSecret -}}
{{- end -}}

{{- define "vaultstream.revocationsConfigMap" -}}
{{- default (printf "%s-revocations" (include "vaultstream.fullname" .)) .Values.workers.revocationsConfigMap -}}
{{- end -}}

{{/* Values that a parent chart shares. Returns JSON. */}}
{{- define "vaultstream.global" -}}
{{- toRawJson (default dict .Values.global) -}}
{{- end -}}

{{/* Reference of an image. Takes a map with `root` and `image`, a map with repository, tag and digest. */}}
{{- define "vaultstream.imageReference" -}}
{{- $repository := .image.repository -}}
{{- with get (include "vaultstream.global" .root | fromJson) "imageRegistry" -}}
{{- $parts := splitList "/" $repository -}}
{{- if and (gt (len $parts) 1) (or (regexMatch "[.:]" (first $parts)) (eq (first $parts) "localhost")) -}}
{{- $parts = rest $parts -}}
{{- end -}}
{{- $repository = printf "%s/%s" . (join "/" $parts) -}}
{{- end -}}
{{- if .image.digest -}}
{{ $repository }}@{{ .image.digest }}
{{- else -}}
{{ $repository }}:{{ .image.tag }}
{{- end -}}
{{- end -}}

{{/* Names of all image pull Secrets, as JSON. */}}
{{- define "vaultstream.pullSecrets" -}}
{{- $names := .Values.imagePullSecrets -}}
{{- range default list (get (include "vaultstream.global" . | fromJson) "imagePullSecrets") -}}
{{- $names = append $names (kindIs "map" . | ternary (get (kindIs "map" . | ternary . dict) "name") .) -}}
{{- end -}}
{{- toRawJson ($names | uniq) -}}
{{- end -}}

{{- define "vaultstream.image" -}}
{{- $image := merge (dict "tag" (default .Chart.AppVersion .Values.image.tag)) .Values.image -}}
{{- include "vaultstream.imageReference" (dict "root" . "image" $image) -}}
{{- end -}}
