import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../base/wait.mts'
import { applyObjects, readManifest } from '../cluster/objects.mts'
import { getPods, isReady, statusInWords } from '../cluster/pods.mts'
import type { Host } from '../input/inventory.mts'
import type { Settings } from '../input/settings.mts'
import type { Command, Kubectl } from '../reach/kubectl.mts'
import { canary } from '../vault/canary.mts'
import type { DrillEvent } from './away.mts'
import { partition, scripted } from './cuts.mts'
import type { EventContext } from './events.mts'

const { namespace } = canary
const runs = 'drill-runs'
const waits = 'drill-waits'

/** Seconds that a worker is without Vault: longer than the agent of a new pod waits for one answer. */
const AWAY = 30

const make = async (kubectl: Kubectl, name: string, { name: node }: Host, image: string): Promise<void> =>
  applyObjects(kubectl, await readManifest('09_drill/vault-pod.yaml', { NAME: name, NODE: node, IMAGE: image }))

// '' for one that is ready, or is not there.
const lackOf = async (kubectl: Command, name: string): Promise<string> => {
  const pod = (await getPods(kubectl, { namespace, label: 'app=drill' })).find(({ metadata }) => metadata.name === name)
  return pod === undefined || isReady(pod) ? '' : `${name}: ${statusInWords(pod)}`
}

const secretOf = (kubectl: Kubectl): Promise<string> => kubectl`-n ${namespace} exec ${runs} -c drill -- sha256sum /vault/secrets/value`

/**
 * Vault is out of reach of a worker's pods, and nobody is told: its packets are dropped. A pod that runs keeps its secrets; a new
 * one waits, and starts once Vault is back.
 */
export const loseVault = async (context: EventContext, { backends, vault }: Settings): Promise<DrillEvent> => {
  const { agents, kubectl, ssh, signal, note } = context
  const worker = agents[0]!
  const { address, port } = backends.vault
  const cut = scripted(ssh, worker, { how: `cut off from Vault at ${address}`, script: partition([address], port) })
  const remove = (asking: Command = kubectl): Promise<string> => asking`-n ${namespace} delete pods -l app=drill --ignore-not-found --wait=true --timeout=60s`
  await remove() // what a killed drill has left
  const begin = async (): Promise<string> => {
    await make(kubectl, runs, worker, vault.agent.image)
    const lack = await until(() => lackOf(kubectl, runs), { seconds: 90, signal })
    if (lack !== '') throw new Error(`a pod gets no secret from Vault, before anything is taken away: ${lack}`)
    return secretOf(kubectl)
  }
  const secret = await begin().catch(async (error: unknown) => {
    await remove(kubectl({ signal: AbortSignal.timeout(60_000) })).catch(() => {}) // what went wrong is the first error
    throw error
  })
  return {
    what: 'Vault out of reach',
    cut: {
      ...cut,
      undo: async (ending) => {
        await cut.undo(ending)
        const asking = kubectl({ signal: ending }) // the run's own signal has ended after ctrl-C
        const waiting = await lackOf(asking, waits)
        if (waiting !== '') throw new Error(`a pod still waits for Vault: ${waiting}`)
        await remove(asking)
      }
    },
    whileAway: async () => {
      await make(kubectl, waits, worker, vault.agent.image)
      await sleep(AWAY * 1000, undefined, { signal })
      if ((await secretOf(kubectl)) !== secret) return { problem: 'a pod that was running has lost its secret' }
      const waiting = await lackOf(kubectl, waits)
      if (waiting === '') return { problem: 'a new pod started without its secrets' }
      note(`  a pod that was running keeps its secret, a new one waits`)
      return {}
    }
  }
}
