{{/*
Passwords of the bundled services. Existing ones in the cluster are used. Returns JSON, from key to password, the same
throughout one rendering:

    postgres.owner, postgres.operator, postgres.auditor, postgres.<role>.<namespace>
    postgres.source.<namespace>, postgres.auditor-source: the logins that read records
    nats.<user>, and nats.<user>.bcrypt, the only form that the server gets. The user of a worker is <role>-<namespace>
*/}}
{{- define "vaultstream.credentials" -}}
{{- if not (hasKey .Release "vaultstreamCredentials") -}}
{{- $kept := dict -}}
{{- $secret := lookup "v1" "Secret" .Release.Namespace (printf "%s-credentials" (include "vaultstream.fullname" .)) -}}
{{- range $key, $value := default dict (get (default dict $secret) "data") -}}
{{- $_ := set $kept $key (b64dec $value) -}}
{{- end -}}
{{- $all := dict -}}
{{- range $key := list "postgres.owner" "postgres.operator" "postgres.auditor" "postgres.auditor-source" -}}
{{- $_ := set $all $key (default (randAlphaNum 32) (get $kept $key)) -}}
{{- end -}}
{{- range $namespace := include "vaultstream.jobNamespaces" . | fromJsonArray -}}
{{- range $role := list "keys" "records" "signing" "source" -}}
{{- $key := printf "postgres.%s.%s" $role $namespace -}}
{{- $_ := set $all $key (default (randAlphaNum 32) (get $kept $key)) -}}
{{- end -}}
{{- end -}}
{{- range $user := include "vaultstream.nats.userNames" . | fromJsonArray -}}
{{- $key := printf "nats.%s" $user -}}
{{- $hash := printf "%s.bcrypt" $key -}}
{{- $password := default (randAlphaNum 32) (get $kept $key) -}}
{{- $_ := set $all $key $password -}}
{{- $_ := set $all $hash (default (bcrypt $password) (get $kept $hash)) -}}
{{- end -}}
{{- $_ := set .Release "vaultstreamCredentials" $all -}}
{{- end -}}
{{- .Release.vaultstreamCredentials | toJson -}}
{{- end -}}

{{/* Login of a worker role, or of `source`, in a namespace, cut to the 63 characters of a Postgres name. Takes a list: role, namespace. */}}
{{- define "vaultstream.postgres.login" -}}
{{- $login := printf "vaultstream_%s_%s" (index . 0) (index . 1) -}}
{{- if gt (len $login) 63 -}}
{{- printf "%s_%s" (trunc 54 $login) (sha256sum $login | trunc 8) -}}
{{- else -}}
{{- $login -}}
{{- end -}}
{{- end -}}

{{/* URL of the bundled Postgres. Takes a map with `root`, `login` and `password`. */}}
{{- define "vaultstream.postgres.url" -}}
postgresql://{{ .login }}:{{ .password }}@{{ include "vaultstream.postgres.host" .root }}:5432/vaultstream?sslmode=verify-full
{{- end -}}

{{- define "vaultstream.postgres.host" -}}
{{ include "vaultstream.fullname" . }}-postgres.{{ .Release.Namespace }}.svc
{{- end -}}

{{- define "vaultstream.nats.host" -}}
{{ include "vaultstream.fullname" . }}-nats.{{ .Release.Namespace }}.svc
{{- end -}}

{{/* `data` of a Secret. Takes a map of strings. */}}
{{- define "vaultstream.secretData" -}}
{{- $data := dict -}}
{{- range $key, $value := . -}}
{{- $_ := set $data $key (b64enc $value) -}}
{{- end -}}
{{- toYaml $data -}}
{{- end -}}

{{/*
`data` of the Secret of a role. Takes a map with `root`, `login`, `password` (Postgres) and `user` (NATS); optionally `source`, a map
with `login` and `password`, by which the role reads records.
*/}}
{{- define "vaultstream.roleSecretData" -}}
{{- $url := printf "tls://%s:4222" (include "vaultstream.nats.host" .root) -}}
{{- $password := get (include "vaultstream.credentials" .root | fromJson) (printf "nats.%s" .user) -}}
{{- $data := dict "database-url" (include "vaultstream.postgres.url" .) "nats-url" $url "nats-user" .user "nats-password" $password -}}
{{- with .source -}}
{{- $_ := set $data "source-database-url" (include "vaultstream.postgres.url" (merge (dict "root" $.root) .)) -}}
{{- end -}}
{{- include "vaultstream.secretData" $data -}}
{{- end -}}
