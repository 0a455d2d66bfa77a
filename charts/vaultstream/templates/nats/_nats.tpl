{{- define "vaultstream.nats.settings" -}}
server_name: {{ include "vaultstream.fullname" . }}-nats-0
port: 4222
# Health for the kubelet; a NetworkPolicy keeps everyone else out.
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

{{/* The users, each with what it may publish and subscribe to. The server sees hashes of the passwords alone. */}}
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
A size in bytes, of Kubernetes or of NATS, whose units differ in letters alone: `2Gi` and `2GB` are powers of 1024, `2G` is
of 1000 in both.
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

{{/* Refuses a volume that would be full before JetStream says so. */}}
{{- define "vaultstream.nats.check" -}}
{{- $store := .Values.bundled.nats.jetstream.maxFileStore -}}
{{- $size := .Values.bundled.nats.persistence.size -}}
{{- if gt (include "vaultstream.bytes" $store | float64) (include "vaultstream.bytes" $size | float64) -}}
{{- fail (printf "bundled.nats.jetstream.maxFileStore, %s, is more than bundled.nats.persistence.size, %v; lower it, or give more" $store $size) -}}
{{- end -}}
{{- end -}}
