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
