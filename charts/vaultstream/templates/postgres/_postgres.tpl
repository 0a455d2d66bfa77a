{{- define "vaultstream.postgres.settings" -}}
listen_addresses = '*'
port = 5432
unix_socket_directories = '/run/postgresql'
hba_file = '/etc/vaultstream/postgres/pg_hba.conf'
ssl = on
ssl_cert_file = '/etc/vaultstream/tls/tls.crt'
ssl_key_file = '/etc/vaultstream/tls/tls.key'
ssl_min_protocol_version = 'TLSv1.2'
password_encryption = 'scram-sha-256'
# Failed statements are not logged: they may contain a payload or a password.
log_min_error_statement = panic
log_line_prefix = '%m [%p] %q%u@%d '
timezone = 'UTC'
log_timezone = 'UTC'
wal_compression = on
jit = off
{{- range $name, $value := .Values.bundled.postgres.settings }}
{{ $name }} = '{{ kindIs "float64" $value | ternary (toJson $value) (toString $value) | replace "'" "''" }}'
{{- end }}
{{- end -}}

{{/* Clients log in with TLS and a password; the superuser only from inside the pod. */}}
{{- define "vaultstream.postgres.hba" -}}
local all postgres peer
hostssl all postgres all reject
hostssl all all all scram-sha-256
{{- end -}}

{{/* Schema whose tables only jobs of this namespace can sign. Takes the namespace. */}}
{{- define "vaultstream.postgres.schema" -}}
{{- $schema := printf "ns_%s" (replace "-" "_" .) -}}
{{- if gt (len $schema) 63 -}}
{{- printf "%s_%s" (trunc 54 $schema) (sha256sum $schema | trunc 8) -}}
{{- else -}}
{{- $schema -}}
{{- end -}}
{{- end -}}

{{/* Fails if two namespaces would share a schema: the cut name of a long one can be the name of another. */}}
{{- define "vaultstream.postgres.schemaCheck" -}}
{{- $owners := dict -}}
{{- range $namespace := include "vaultstream.jobNamespaces" . | fromJsonArray -}}
{{- $schema := include "vaultstream.postgres.schema" $namespace -}}
{{- with get $owners $schema -}}{{- if ne . $namespace -}}
{{- fail (printf "jobNamespaces: %s and %s would share the schema %s of the bundled Postgres. Rename one of them, or use services: external." . $namespace $schema) -}}
{{- end -}}{{- end -}}
{{- $_ := set $owners $schema $namespace -}}
{{- end -}}
{{- end -}}

{{/* Role whose members see the jobs of this namespace, cut as functions/tenant_role.sql does. Takes the namespace. */}}
{{- define "vaultstream.postgres.tenant" -}}
{{- $role := printf "vaultstream_tenant_%s" . -}}
{{- if gt (len $role) 63 -}}
{{- printf "%s_%s" (trunc 54 $role) (sha256sum $role | trunc 8) -}}
{{- else -}}
{{- $role -}}
{{- end -}}
{{- end -}}

{{/* One login per line: name, group, key of the password and, for some, the role of its tenant. */}}
{{- define "vaultstream.postgres.logins" -}}
vaultstream_operator_login vaultstream_operator postgres.operator
vaultstream_auditor_login vaultstream_auditor postgres.auditor
{{- range $namespace := include "vaultstream.jobNamespaces" . | fromJsonArray }}
{{- range $role := list "keys" "records" "signing" }}
{{ include "vaultstream.postgres.login" (list $role $namespace) }} vaultstream_{{ $role }} postgres.{{ $role }}.{{ $namespace }} {{ include "vaultstream.postgres.tenant" $namespace }}
{{- end }}
{{- end }}
{{- end -}}

{{/* One login that reads records per line: name, key of the password, and a schema that it can read. */}}
{{- define "vaultstream.postgres.sources" -}}
{{- range $namespace := include "vaultstream.jobNamespaces" . | fromJsonArray }}
{{- $schema := include "vaultstream.postgres.schema" $namespace }}
{{ include "vaultstream.postgres.login" (list "source" $namespace) }} postgres.source.{{ $namespace }} {{ $schema }}
vaultstream_auditor_source postgres.auditor-source {{ $schema }}
{{- end }}
{{- end -}}

{{/* Init container that connects to the bundled Postgres. Takes a map with `root` and `does`: wait or logins. */}}
{{- define "vaultstream.postgres.client" -}}
{{- with .root.Values.bundled.postgres -}}
image: {{ include "vaultstream.imageReference" (dict "root" $.root "image" .image) }}
imagePullPolicy: {{ .image.pullPolicy }}
{{- end }}
command: [sh, /etc/vaultstream/postgres/postgres.sh, {{ .does }}]
env:
  - name: HOME
    value: /tmp
  - name: PGHOST
    value: {{ include "vaultstream.postgres.host" .root }}
  {{- if eq .does "logins" }}
  - name: PGUSER
    value: vaultstream
  {{- include "vaultstream.envFromSecret" (list "PGPASSWORD" (printf "%s-credentials" (include "vaultstream.fullname" .root)) "postgres.owner") | nindent 2 }}
  - name: PGDATABASE
    value: vaultstream
  - name: PGSSLMODE
    value: verify-full
  - name: PGSSLROOTCERT
    value: /etc/vaultstream/ca/ca.crt
  {{- end }}
resources:
  {{- toYaml .root.Values.migration.resources | nindent 2 }}
securityContext:
  {{- include "vaultstream.containerSecurityContext" .root | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  - name: postgres
    mountPath: /etc/vaultstream/postgres
    readOnly: true
  {{- if eq .does "logins" }}
  - name: ca
    mountPath: /etc/vaultstream/ca
    readOnly: true
  - name: logins
    mountPath: /etc/vaultstream/secrets
    readOnly: true
  {{- end }}
{{- end -}}

{{- define "vaultstream.postgres.clientVolumes" -}}
- name: postgres
  configMap:
    name: {{ include "vaultstream.fullname" . }}-postgres
- name: logins
  secret:
    secretName: {{ include "vaultstream.fullname" . }}-credentials
    defaultMode: 0440
    items:
      {{- $passwords := list }}
      {{- range $line := include "vaultstream.postgres.logins" . | splitList "\n" }}
      {{- $passwords = append $passwords (index (splitList " " $line) 2) }}
      {{- end }}
      {{- range $line := include "vaultstream.postgres.sources" . | trim | splitList "\n" }}
      {{- $passwords = append $passwords (index (splitList " " $line) 1) }}
      {{- end }}
      {{- range uniq $passwords }}
      - key: {{ . }}
        path: {{ . }}
      {{- end }}
{{- end -}}
