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

{{/* Users with their permissions. The server gets only hashes of the passwords. */}}
{{- define "vaultstream.nats.users" -}}
{{- $passwords := include "vaultstream.credentials" . | fromJson -}}
authorization {
  users: [
    {{- range $user, $permissions := .Files.Get "files/nats-permissions.json" | fromJson }}
    {
      user: {{ $user | quote }}
      password: {{ get $passwords (printf "nats.%s.bcrypt" $user) | quote }}
      permissions: {{ toRawJson $permissions }}
    }
    {{- end }}
  ]
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
