{{/* What the operator may do, and nothing else: the rules of deploy/operator-rbac.yaml. It reads no Secret. */}}
{{- define "vaultstream.operator.rules" -}}
- apiGroups: [vaultstream.dev]
  resources: [signingjobs]
  verbs: [get, list, watch, patch, delete] # patch: the finalizer; delete: once its time to live is over
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
  verbs: [list, watch, patch] # patch: those that hold no key are marked to go first
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
