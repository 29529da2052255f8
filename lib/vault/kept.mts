import type { Settings } from '../input/settings.mts'
import type { Vault } from '../reach/vault.mts'
import type { ClusterStep } from '../run/step.mts'
import { dataOf, type Holder, keysThatDiffer, type Secrets, templateOf, unknownOf } from '../secrets/holder.mts'
import { functionsFor, ofTemplate } from '../secrets/by-hand.mts'

/** What Vault keeps of an application's secrets; nothing where it keeps none. */
export const readKept = async (vault: Vault, { vault: { kv } }: Settings, app: string): Promise<Record<string, string> | undefined> =>
  (await vault.read(`${kv}/data/${app}`))?.data['data'] as Record<string, string> | undefined

/** The step that Vault keeps an application's secrets. Its words name keys, never values. */
export const keepsSecrets = (vault: Vault, settings: Settings, holder: Holder, secrets: Secrets): ClusterStep => {
  const { kv } = settings.vault
  const printed = ofTemplate(templateOf(holder))
  return {
    name: `keeps the secrets of ${holder.title}`,
    check: async () => {
      const waiting = unknownOf(holder, secrets)
      return waiting.length > 0 ? `waits for ${waiting.join(', ')}` : keysThatDiffer(await readKept(vault, settings, holder.name), dataOf(holder, secrets))
    },
    look: `vault kv get -mount=${kv} ${holder.name}`,
    change: async () => void (await vault.write(`${kv}/data/${holder.name}`, { data: dataOf(holder, secrets) })),
    // Values go through pipes: an argument could be seen in a list of processes.
    byHand: [functionsFor(settings, printed), `vault kv put -mount=${kv} ${holder.name}`].join('\n')
      + Object.entries(printed).map(([key, shell]) => ` \\\n  ${key}=@<(${shell})`).join('')
  }
}
