{{/* Security context of every container of the chart: no privileges, and write access only to its volumes. */}}
{{- define "vaultstream.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Security context of the pod of a bundled server. Takes its user ID, or nothing where the cluster assigns one. */}}
{{- define "vaultstream.serverSecurityContext" -}}
runAsNonRoot: true
{{- with . }}
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "vaultstream.imagePullSecrets" -}}
{{- with include "vaultstream.pullSecrets" . | fromJsonArray }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Scheduling of a pod. Takes the values of its component. */}}
{{- define "vaultstream.placement" -}}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with get $ $key }}
{{ dict $key . | toYaml }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Environment variable from a Secret. Takes a list: the variable, the Secret, its key; true if it can be missing. */}}
{{- define "vaultstream.envFromSecret" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
      {{- if gt (len .) 3 }}
      optional: {{ index . 3 }}
      {{- end }}
{{- end -}}

{{/* Environment variables with the URLs and credentials of the services. Takes a map with `root` and `secret`. */}}
{{- define "vaultstream.serviceEnv" -}}
{{- include "vaultstream.envFromSecret" (list "DATABASE_URL" .secret "database-url") }}
{{ include "vaultstream.envFromSecret" (list "VAULTSTREAM_NATS_URL" .secret "nats-url") }}
{{ include "vaultstream.envFromSecret" (list "VAULTSTREAM_NATS_USER" .secret "nats-user" true) }}
{{ include "vaultstream.envFromSecret" (list "VAULTSTREAM_NATS_PASSWORD" .secret "nats-password" true) }}
{{ include "vaultstream.credentialsEnv" .secret }}
{{ include "vaultstream.caEnv" .root }}
{{- end -}}

{{/*
Environment variables with which credentials are read from their Secret at each connect; those of serviceEnv are what a pod starts with.
Takes the name of the Secret.
*/}}
{{- define "vaultstream.credentialsEnv" -}}
- name: VAULTSTREAM_CREDENTIALS_DIR
  value: /etc/vaultstream/credentials
- name: VAULTSTREAM_CREDENTIALS_SECRET
  value: {{ . }}
{{- end -}}

{{/* Volume mount of that Secret, as a whole folder: the kubelet updates no single file that is mounted by itself. */}}
{{- define "vaultstream.credentialsMount" -}}
- name: credentials
  mountPath: /etc/vaultstream/credentials
  readOnly: true
{{- end -}}

{{/* Volume of that mount. Takes the name of the Secret. */}}
{{- define "vaultstream.credentialsVolume" -}}
- name: credentials
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    optional: true
{{- end -}}

{{/* Environment variables for verifying the services. */}}
{{- define "vaultstream.caEnv" -}}
{{- if include "vaultstream.tls.caSecret" . -}}
- name: PGSSLROOTCERT
  value: /etc/vaultstream/ca/ca.crt
- name: VAULTSTREAM_NATS_CA_FILE
  value: /etc/vaultstream/ca/ca.crt
{{- end -}}
{{- end -}}

{{/* Volume mounts of such a process. */}}
{{- define "vaultstream.serviceMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if include "vaultstream.tls.caSecret" . }}
- name: ca
  mountPath: /etc/vaultstream/ca
  readOnly: true
{{- end }}
{{- end -}}

{{/* Volumes of these mounts. */}}
{{- define "vaultstream.serviceVolumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- with include "vaultstream.tls.caSecret" . }}
- name: ca
  secret:
    secretName: {{ . }}
    items:
      - key: ca.crt
        path: ca.crt
{{- end }}
{{- end -}}
