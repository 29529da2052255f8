import { Secret } from '../input/secrets.mts'
import { apiUrl, type Settings } from '../input/settings.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import { type Vault, VaultError } from '../reach/vault.mts'
import type { Run } from '../run/run.mts'
import { Refusal, type ClusterStep } from '../run/step.mts'
import { readData } from '../secrets/cluster-secret.mts'
import { differences, hasData, writeByHand } from './steps.mts'

/** For whom the tokens are that pods show to Vault. */
export const audience = 'vault'

/** The account whose token Vault checks pods' tokens with, and the Secret that holds it (manifests/08_vault/reviewer.yaml). */
const reviewer = { namespace: 'keybuzz-vault', name: 'reviewer' }

/**
 * Who gets what: an application's pods are known by their account and namespace. `role` is the role of PostgreSQL that its users
 * act as: what they make there is that role's, and stays when they end.
 */
export type Client = { app: string; namespace: string; account: string; role?: string }

type Mount = { name: string; list: 'sys/auth' | 'sys/mounts'; path: string; wanted: { type: string; options?: object } }

/** The step that something of Vault is there at a path of its own. It refuses where something else is. */
export const hasMount = (vault: Vault, { name, list, path, wanted }: Mount): ClusterStep => ({
  name,
  check: async () => {
    const there = (await vault.read(list))?.data[`${path}/`] as { type: string; options?: Record<string, string> } | undefined
    if (there === undefined) return 'is missing'
    const version = wanted.options === undefined ? '' : (there.options?.['version'] ?? '1')
    if (there.type !== wanted.type || (version !== '' && version !== '2')) {
      throw new Refusal(`${path}/ is ${there.type}${version === '' ? '' : ` of version ${version}`}: name another path in settings.yaml`)
    }
    return ''
  },
  look: list === 'sys/auth' ? 'vault auth list' : 'vault secrets list -detailed',
  change: async () => void (await vault.write(`${list}/${path}`, wanted)),
  byHand: writeByHand(`${list}/${path}`, wanted)
})

/**
 * The step that Vault knows pods by their tokens: it asks the cluster's API through its load balancer, with the reviewer's
 * token. The token cannot be read again, so the canary's own one is shown: Vault takes it only where all of this is right.
 */
export const knowsPods = (vault: Vault, { settings, kubectl }: Pick<Run, 'settings' | 'kubectl'>, canary: Client): ClusterStep => {
  const path = `auth/${settings.vault.auth_path}/config`
  const wanted = async () => ({
    kubernetes_host: apiUrl(settings),
    kubernetes_ca_cert: await caOf(kubectl),
    disable_local_ca_jwt: true
  })
  return {
    name: 'knows pods by their tokens',
    check: async () => {
      const found = differences((await vault.read(path))?.data, await wanted())
      return found || (await logsIn(vault, settings, kubectl, canary))
    },
    look: `vault read ${path}
vault write auth/${settings.vault.auth_path}/login role=${canary.app} jwt=@<(kubectl -n ${canary.namespace} create token ${canary.account} --audience ${audience} | tr -d '\\n')`,
    change: async () => {
      const token = (await readData(kubectl, reviewer))?.data['token']
      if (!token) throw new Error(`the Secret ${reviewer.namespace}/${reviewer.name} has no token yet`)
      await vault.write(path, { ...(await wanted()), token_reviewer_jwt: new Secret(token).reveal() })
    },
    // Tokens go through pipes: an argument could be seen in a list of processes.
    byHand: `vault write ${path} kubernetes_host=${apiUrl(settings)} disable_local_ca_jwt=true \\
  kubernetes_ca_cert="$(kubectl -n kube-system get configmap kube-root-ca.crt -o jsonpath='{.data.ca\\.crt}')" \\
  token_reviewer_jwt=@<(kubectl -n ${reviewer.namespace} get secret ${reviewer.name} -o jsonpath='{.data.token}' | base64 -d)`,
    within: 20,
    hint: `Vault asks ${apiUrl(settings)}: may it, and does its clock agree with the servers'? docs/vault.md`
  }
}

const caOf = async (kubectl: Kubectl): Promise<string> =>
  (await kubectl`-n kube-system get configmap kube-root-ca.crt -o ${'jsonpath={.data.ca\\.crt}'}`).trim()

const logsIn = async (vault: Vault, { vault: { auth_path: auth } }: Settings, kubectl: Kubectl, { app, namespace, account }: Client): Promise<string> => {
  const jwt = new Secret((await kubectl`-n ${namespace} create token ${account} --audience ${audience}`).trim()).reveal()
  try {
    const { auth: login } = await vault.write(`auth/${auth}/login`, { role: app, jwt })
    if (login === undefined) return 'a login gave no token'
    await vault.as(new Secret(String(login['client_token']))).write('auth/token/revoke-self')
    return ''
  } catch (error) {
    if (error instanceof VaultError) return error.message
    throw error
  }
}

/** The policy of an application's pods. It is named after the cluster's own path: two clusters may have one Vault. */
export const policyOf = ({ vault: { auth_path: auth } }: Settings, app: string): string => `${auth}-${app}`

/** The steps that an application's pods get a token of Vault, and what it may read. */
export const mayRead = (vault: Vault, settings: Settings, { app, namespace, account }: Client): ClusterStep[] => {
  const { auth_path: auth, kv, database } = settings.vault
  const policy = policyOf(settings, app)
  return [
    hasData(vault, {
      name: `says what ${app} may read`,
      path: `sys/policies/acl/${policy}`,
      wanted: { policy: `path "${kv}/data/${app}" { capabilities = ["read"] }\npath "${database.mount}/creds/${app}" { capabilities = ["read"] }\n` }
    }),
    hasData(vault, {
      name: `knows the pods of ${app}`,
      path: `auth/${auth}/role/${app}`,
      wanted: {
        bound_service_account_names: [account],
        bound_service_account_namespaces: [namespace],
        audience,
        token_policies: [policy],
        // With a token its users of PostgreSQL end: it lives as long without Vault as they do.
        token_ttl: database.hours * 3600
      }
    })
  ]
}
