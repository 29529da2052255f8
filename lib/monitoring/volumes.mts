import { quote } from 'zx'
import { isAbort } from '../base/errors.mts'
import { inPools, type Host } from '../input/inventory.mts'
import type { Run } from '../run/run.mts'
import type { ClusterStep } from '../run/step.mts'
import { namespace } from './holders.mts'
import { alertmanagers } from './places.mts'

type Means = Pick<Run, 'kubectl' | 'ssh' | 'hosts' | 'sick' | 'settings'>

type Volume = {
  /** Bound, or Released: its claim has gone, and it may outlive it for long where its node is away. */
  status: { phase: string }
  spec: {
    claimRef?: { namespace: string; name: string }
    local?: { path: string }
    nodeAffinity?: { required?: { nodeSelectorTerms: { matchExpressions?: { key: string; values?: string[] }[] }[] } }
  }
}

/** A claim, the node that its volume is on, and the folder there. */
type Place = { claim: string; node: string; path: string }

const placesIn = (volumes: Volume[]): Place[] => volumes.flatMap(({ status: { phase }, spec: { claimRef, local, nodeAffinity } }) => {
  const [node] = nodeAffinity?.required?.nodeSelectorTerms[0]?.matchExpressions?.find(({ key }) => key === 'kubernetes.io/hostname')?.values ?? []
  return phase === 'Bound' && claimRef?.namespace === namespace && local && node ? [{ claim: claimRef.name, node, path: local.path }] : []
})

const places = async (kubectl: Run['kubectl']): Promise<Place[]> =>
  placesIn((JSON.parse(await kubectl`get pv -o json`) as { items: Volume[] }).items)

/** Shell that succeeds where a folder, or the one above it that is there, is on the system's disk. */
const onSystemDisk = (path: string): string =>
  `(dir=${path}; until [[ -d $dir ]]; do dir=$(dirname "$dir"); done; [[ $(findmnt -n -o TARGET -T "$dir") == / ]])`

const look = 'kubectl get pv -o custom-columns=CLAIM:.spec.claimRef.name,NODE:.spec.nodeAffinity.required.nodeSelectorTerms[*].matchExpressions[*].values,PATH:.spec.local.path'

/** The pod of a StatefulSet that has a claim: data-prometheus-0 is of prometheus-0. */
const podOf = (claim: string): string => claim.replace(/^data-/, '')

/**
 * The step that every volume of the monitoring is on its node. A node that was made anew has lost its own, and then a pod waits
 * for it for ever: its claim goes, and it starts with an empty one. A node that does not answer is left alone, and one whose
 * data volume is not mounted, where the settings ask for one (01 says so).
 */
export const hasItsVolumes = ({ kubectl, ssh, hosts, sick, settings: { addons: { volumes } } }: Means): ClusterStep => {
  const isGone = async (host: Host, path: string): Promise<boolean> => {
    try {
      const shell = `[[ -d ${quote(path)} ]] || ${volumes.mounted ? `${onSystemDisk(volumes.path)} || ` : ''}echo gone`
      return (await ssh.capture(host, shell)).trim() === 'gone'
    } catch (error) {
      if (isAbort(error)) throw error
      return false
    }
  }
  const lost = async (): Promise<Place[]> => {
    const gone = await Promise.all((await places(kubectl)).map(async (place) => {
      const host = hosts.find(({ name }) => name === place.node)
      return host && !sick().includes(host.name) && (await isGone(host, place.path)) ? [place] : []
    }))
    return gone.flat()
  }
  return {
    name: 'has the volumes of the monitoring on their nodes',
    check: async () => (await lost()).map(({ claim, node }) => `${claim} is gone: ${node} was made anew`).join('\n'),
    look: `${look}
# Is each folder there on its node?`,
    change: async () => {
      for (const { claim } of await lost()) {
        await kubectl`-n ${namespace} delete pvc ${claim} --wait=false`
        await kubectl`-n ${namespace} delete pod ${podOf(claim)} --ignore-not-found --force --grace-period=0`
      }
    },
    byHand: `# <CLAIM> is one whose folder is gone, such as data-prometheus-0, and <POD> is its pod, prometheus-0. A claim that is deleted loses what it holds.
kubectl -n ${namespace} delete pvc <CLAIM> --wait=false
kubectl -n ${namespace} delete pod <POD> --force`,
    within: 120, // until its old volume is gone too
    hint: 'docs/monitoring.md'
  }
}

/**
 * The step that every pod of the monitoring that has a volume may run where that volume is: a volume stays on its node when the
 * settings, or the node, get other pools, and its pod would be placed nowhere. Which of the two to give up is for a human.
 */
export const mayRunAtItsVolumes = ({ kubectl, hosts, settings: { monitoring: { pools, prometheus } } }: Pick<Run, 'kubectl' | 'hosts' | 'settings'>): ClusterStep => {
  const claims = [['prometheus', prometheus.replicas], ['alertmanager', alertmanagers]] as const
  const wanted = new Set(claims.flatMap(([name, replicas]) => Array.from({ length: replicas }, (_, index) => `data-${name}-${index}`)))
  const fit = new Set(inPools(hosts, pools).map(({ name }) => name))
  return {
    name: 'has the volumes of the monitoring in monitoring.pools',
    check: async () => (await places(kubectl)).filter(({ claim, node }) => wanted.has(claim) && !fit.has(node))
      .map(({ claim, node }) => `${claim} is on ${node}, which is not in monitoring.pools (${pools.join(', ')}). Put that back, or give up what it holds:
kubectl -n ${namespace} delete pvc ${claim} --wait=false; kubectl -n ${namespace} delete pod ${podOf(claim)}`).join('\n'),
    look: `${look}
# Is each node in one of these pools: ${pools.join(', ')}?`
  }
}
