{{/* The chart's name, cut to what a label takes. */}}
{{- define "vaultstream.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* The release's full name, which all names of objects begin with. */}}
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

{{/* Refuses a name that no Service can begin with: of all objects they alone may not begin with a digit. */}}
{{- define "vaultstream.services.nameCheck" -}}
{{- $name := include "vaultstream.fullname" . -}}
{{- if not (regexMatch "^[a-z]" $name) -}}
{{- fail (printf "the release is called %s, but names of Services, of which the bundled Postgres and NATS need some, begin with a letter; choose another name, or set fullnameOverride" .Release.Name) -}}
{{- end -}}
{{- end -}}

{{/* The namespaces in which SigningJobs may run, as JSON. */}}
{{- define "vaultstream.jobNamespaces" -}}
{{- default (list .Release.Namespace) .Values.jobNamespaces | uniq | toJson -}}
{{- end -}}

{{/* The namespaces that hold anything of this release, as JSON. */}}
{{- define "vaultstream.allNamespaces" -}}
{{- prepend (include "vaultstream.jobNamespaces" . | fromJsonArray) .Release.Namespace | uniq | toJson -}}
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

{{/* What the names of the Secrets with URLs and credentials begin with. */}}
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

{{/* An image's reference. Takes a map with repository, tag and digest. */}}
{{- define "vaultstream.imageReference" -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag }}
{{- end -}}
{{- end -}}

{{- define "vaultstream.image" -}}
{{- $image := merge (dict "tag" (default .Chart.AppVersion .Values.image.tag)) .Values.image -}}
{{- include "vaultstream.imageReference" $image -}}
{{- end -}}
