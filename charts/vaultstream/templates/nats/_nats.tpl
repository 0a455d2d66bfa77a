{{- define "vaultstream.nats.settings" -}}
server_name: {{ include "vaultstream.fullname" . }}-nats-0
port: 4222
# For the probes of the kubelet. A NetworkPolicy blocks everyone else.
http_port: 8222
tls {
  cert_file: /etc/vaultstream/tls/tls.crt
  key_file: /etc/vaultstream/tls/tls.key
  timeout: 5
}
jetstream {
  store_dir: /var/lib/vaultstream
  max_file_store: {{ .Values.bundled.nats.jetstream.maxFileStore }}
  max_memory_store: {{ .Values.bundled.nats.jetstream.maxMemoryStore }}
}
include "auth/users.conf"
{{- end -}}

{{/* User of a worker role in a namespace: each namespace has an account of its own. Takes a list: role, namespace. */}}
{{- define "vaultstream.nats.user" -}}
{{- printf "%s-%s" (index . 0) (index . 1) -}}
{{- end -}}

{{/* Names of all users, as JSON. Workers outside of `jobNamespaces`, which `clusterWide` allows, belong to no tenant. */}}
{{- define "vaultstream.nats.userNames" -}}
{{- $users := ternary (list "operator" "auditor" "keys" "records" "signing") (list "operator" "auditor") .Values.clusterWide -}}
{{- range $namespace := include "vaultstream.tenants" . | fromJsonArray -}}
{{- range $role := list "keys" "records" "signing" -}}
{{- $users = append $users (include "vaultstream.nats.user" (list $role $namespace)) -}}
{{- end -}}
{{- end -}}
{{- $users | toJson -}}
{{- end -}}

{{/* A user in nats-server's configuration. Takes a map with `root`, `user` and `role`. The server gets a hash of the password. */}}
{{- define "vaultstream.nats.userConfig" -}}
{{- $passwords := include "vaultstream.credentials" .root | fromJson -}}
{{- $permissions := .root.Files.Get "files/nats-permissions.json" | fromJson -}}
{{- dict "user" .user "password" (get $passwords (printf "nats.%s.bcrypt" .user)) "permissions" (get $permissions .role) | toRawJson -}}
{{- end -}}

{{/*
Accounts: one for the operator and the auditor, which reach the JetStream of the others by imports; one for workers without a tenant;
and one per tenant.
*/}}
{{- define "vaultstream.nats.users" -}}
{{- $file := .Files.Get "files/nats-tenants.json" -}}
{{- $common := $file | fromJson -}}
{{- $tenants := include "vaultstream.tenants" . | fromJsonArray -}}
accounts {
  {{ $common.operatorsAccount }} {
    users: [
      {{- range $user := list "operator" "auditor" }}
      {{ include "vaultstream.nats.userConfig" (dict "root" $ "user" $user "role" $user) }}
      {{- end }}
    ]
    imports: [
      {{- range $common.workersImports }}
      {{ toRawJson . }}
      {{- end }}
      {{- range $namespace := $tenants }}
      {{- range ($file | replace "NAMESPACE" $namespace | fromJson).imports }}
      {{ toRawJson . }}
      {{- end }}
      {{- end }}
    ]
  }
  {{ $common.workersAccount }} {
    jetstream: {{ $common.config.jetstream }}
    users: [
      {{- range $user := ternary (list "keys" "records" "signing") list .Values.clusterWide }}
      {{ include "vaultstream.nats.userConfig" (dict "root" $ "user" $user "role" $user) }}
      {{- end }}
    ]
    exports: [
      {{- range $common.config.exports }}
      {{ toRawJson . }}
      {{- end }}
    ]
  }
  {{- range $namespace := $tenants }}
  {{- $tenant := $file | replace "NAMESPACE" $namespace | fromJson }}
  {{ $tenant.account | quote }} {
    jetstream: {{ $tenant.config.jetstream }}
    users: [
      {{- range $role, $user := $tenant.users }}
      {{ include "vaultstream.nats.userConfig" (dict "root" $ "user" $user "role" $role) }}
      {{- end }}
    ]
    exports: [
      {{- range $tenant.config.exports }}
      {{ toRawJson . }}
      {{- end }}
    ]
  }
  {{- end }}
}
{{- end -}}

{{/*
Converts a size of Kubernetes or NATS to bytes. `2Gi` (Kubernetes) and `2GB` (NATS) are multiples of powers of 1024; `2G` is
one of powers of 1000 in both.
*/}}
{{- define "vaultstream.bytes" -}}
{{- $unit := regexFind "[A-Za-z]+$" (toString .) -}}
{{- $bytes := toString . | trimSuffix $unit | float64 -}}
{{- $base := ternary 1024 1000 (gt (len $unit) 1) -}}
{{- range until (dig (upper $unit | trunc 1) 0 (dict "K" 1 "M" 2 "G" 3 "T" 4 "P" 5 "E" 6)) -}}
{{- $bytes = mulf $bytes $base -}}
{{- end -}}
{{- $bytes -}}
{{- end -}}

{{/* Fails if the volume would be full before JetStream reaches its limit. */}}
{{- define "vaultstream.nats.check" -}}
{{- $store := .Values.bundled.nats.jetstream.maxFileStore -}}
{{- $size := .Values.bundled.nats.persistence.size -}}
{{- if gt (include "vaultstream.bytes" $store | float64) (include "vaultstream.bytes" $size | float64) -}}
{{- fail (printf "bundled.nats.jetstream.maxFileStore is %s, more than bundled.nats.persistence.size, %v; lower it, or increase the size" $store $size) -}}
{{- end -}}
{{- end -}}
