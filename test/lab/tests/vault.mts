// What the tests of Vault share: its administrator's commands, pods beside the canary, and who is logged in to PostgreSQL.
import { adminSecrets } from '../secrets.mts'
import { kubectl, on, tryKubectl } from './cluster.mts'

/** A command of Vault's CLI, as its administrator. */
export const vault = async (command: string): Promise<string> => {
  const variables = `VAULT_CACERT=/etc/vault.d/ca.pem VAULT_TOKEN=${adminSecrets['KEYBUZZ_VAULT_ADMIN_TOKEN']}`
  return on('vault-01', `export VAULT_ADDR=https://127.0.0.1:8200 ${variables}; /opt/vault/vault ${command}`)
}

/** What PostgreSQL answers its superuser. */
export const sql = (query: string): Promise<string> => on('db-master-01', `su postgres -c "psql -Atc \\"${query}\\""`)

/** The users of PostgreSQL that are logged in to a database. */
export const users = async (database: string): Promise<string[]> =>
  (await sql(`select distinct usename from pg_stat_activity where datname = '${database}' and usename <> 'postgres'`)).split('\n').filter(Boolean)

/** The canary's namespace: its account may read the canary's secrets. */
export const canary = 'keybuzz-vault-canary'

/** Makes a pod there that lives until it is deleted, with the agent that a ConfigMap describes. */
export const makePod = async (name: string, { config = 'vault-agent', account = 'vault-canary' } = {}): Promise<void> => {
  const policy = await kubectl('get', 'mutatingadmissionpolicy', 'vault-agent', '-o', 'yaml')
  const pod = {
    apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: canary, annotations: { 'keybuzz.io/vault-agent': config } },
    spec: {
      serviceAccountName: account, automountServiceAccountToken: false, terminationGracePeriodSeconds: 10,
      securityContext: { runAsNonRoot: true, runAsUser: 65534, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [{
        name: 'app', image: /docker\.io\/hashicorp\/vault:[\w.-]+/.exec(policy)![0], command: ['sh', '-c', 'trap exit TERM; while :; do sleep 0.2; done'],
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } }
      }]
    }
  }
  const { exitCode, stderr } = await tryKubectl(['create', '-f', '-'], { input: JSON.stringify(pod) })
  if (exitCode !== 0) throw new Error(stderr)
}

/** Waits until a pod there is ready. */
export const ready = (name: string): Promise<string> => kubectl('-n', canary, 'wait', '--for=condition=Ready', `pod/${name}`, '--timeout=60s')

/** What a file of a pod there holds. */
export const fileOf = (pod: string, name: string): Promise<string> => kubectl('-n', canary, 'exec', pod, '-c', 'app', '--', 'cat', `/vault/secrets/${name}`)
