{{/* Permissions of the operator: the rules of deploy/operator-rbac.yaml. It cannot read Secrets. */}}
{{- define "vaultstream.operator.rules" -}}
- apiGroups: [vaultstream.dev]
  resources: [signingjobs]
  verbs: [get, list, watch, patch, delete] # patch: the finalizer; delete: when ttlSecondsAfterFinished is over
- apiGroups: [vaultstream.dev]
  resources: [signingjobs/status]
  verbs: [patch]
- apiGroups: [vaultstream.dev]
  resources: [signingjobs/finalizers]
  verbs: [update] # children that block their owner's deletion
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch] # patch: mark pods without a key to be deleted first
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, list, patch] # list: why a Job has no pod is in its Events alone
{{- end -}}

{{/* Permissions on the Lease by which operators elect a leader: those of the Role in deploy/operator-rbac.yaml. */}}
{{- define "vaultstream.operator.leaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create] # a name can't be given for what does not exist
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "vaultstream.fullname" . }}-operator]
  verbs: [get, update]
{{- end -}}

{{/* Permissions in all namespaces of an operator that has the others only in its own: those of deploy/operator-signingjobs-rbac.yaml. */}}
{{- define "vaultstream.operator.signingJobsRules" -}}
- apiGroups: [vaultstream.dev]
  resources: [signingjobs]
  verbs: [get, list, watch, patch] # patch: the finalizer
- apiGroups: [vaultstream.dev]
  resources: [signingjobs/status]
  verbs: [patch]
{{- end -}}

{{/* Permission to find the namespaces that `jobNamespaceSelector` selects. */}}
{{- define "vaultstream.operator.selectorRules" -}}
{{- if include "vaultstream.namespaceSelector" . -}}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list]
{{- end -}}
{{- end -}}

{{/* A value in CEL, the language of admission policies. Maps and lists there have values of one type, which `dyn` makes of them. */}}
{{- define "vaultstream.cel" -}}
{{- $parts := list -}}
{{- if kindIs "map" . -}}
{{- range $key, $value := . -}}
{{- $parts = append $parts (printf "%s: %s" (toRawJson $key) (include "vaultstream.cel" $value)) -}}
{{- end -}}
dyn({ {{- join ", " $parts -}} })
{{- else if kindIs "slice" . -}}
{{- range . -}}
{{- $parts = append $parts (include "vaultstream.cel" .) -}}
{{- end -}}
dyn([{{- join ", " $parts -}}])
{{- else -}}
dyn({{ toRawJson . }})
{{- end -}}
{{- end -}}
