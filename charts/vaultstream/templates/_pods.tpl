{{/* What every container of the chart may do: nothing beyond its own files in its volumes. */}}
{{- define "vaultstream.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The security of a bundled server's pod. Takes its user's id. */}}
{{- define "vaultstream.serverSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "vaultstream.imagePullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Where a pod may run. Takes the values that say so. */}}
{{- define "vaultstream.placement" -}}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with get $ $key }}
{{ dict $key . | toYaml }}
{{- end }}
{{- end }}
{{- end -}}

{{/* An environment variable from a Secret. Takes a list: the variable, the Secret, its key. */}}
{{- define "vaultstream.envFromSecret" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
{{- end -}}

{{/* The variables by which a process finds the services, and logs in. Takes a map with `root` and `secret`. */}}
{{- define "vaultstream.serviceEnv" -}}
{{- include "vaultstream.envFromSecret" (list "DATABASE_URL" .secret "database-url") }}
{{ include "vaultstream.envFromSecret" (list "VAULTSTREAM_NATS_URL" .secret "nats-url") }}
{{ include "vaultstream.envFromSecret" (list "VAULTSTREAM_NATS_USER" .secret "nats-user") }}
{{ include "vaultstream.envFromSecret" (list "VAULTSTREAM_NATS_PASSWORD" .secret "nats-password") }}
{{ include "vaultstream.caEnv" .root }}
{{- end -}}

{{/* The variables by which a process knows the services. */}}
{{- define "vaultstream.caEnv" -}}
{{- if include "vaultstream.tls.caSecret" . -}}
- name: PGSSLROOTCERT
  value: /etc/vaultstream/ca/ca.crt
- name: VAULTSTREAM_NATS_CA_FILE
  value: /etc/vaultstream/ca/ca.crt
{{- end -}}
{{- end -}}

{{/* What such a process mounts. */}}
{{- define "vaultstream.serviceMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if include "vaultstream.tls.caSecret" . }}
- name: ca
  mountPath: /etc/vaultstream/ca
  readOnly: true
{{- end }}
{{- end -}}

{{/* The volumes of that. */}}
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
