import { until } from '../base/wait.mts'
import type { Run } from '../run/run.mts'
import type { ClusterStep } from '../run/step.mts'
import { readManifest, withObjects } from './objects.mts'
import { rolloutInWords } from './pods.mts'

type StorageClass = { metadata: { name: string; annotations?: Record<string, string> } }

/** The step that local-path is the only default StorageClass, and keeps volumes in the folder of the settings. */
export const keepsVolumes = ({ kubectl, settings: { addons: { volumes } } }: Pick<Run, 'kubectl' | 'settings'>): ClusterStep => ({
  name: `keeps volumes under ${volumes.path} by default`,
  check: async () => {
    const { items } = JSON.parse(await kubectl`get storageclass -o json`) as { items: StorageClass[] }
    const defaults = items
      .filter(({ metadata }) => metadata.annotations?.['storageclass.kubernetes.io/is-default-class'] === 'true')
      .map(({ metadata }) => metadata.name)
    const config = await kubectl`-n kube-system get configmap local-path-config -o 'jsonpath={.data.config\\.json}'`
    const { nodePathMap } = JSON.parse(config) as { nodePathMap: { node: string; paths: string[] }[] }
    const paths = nodePathMap.flatMap((entry) => entry.paths)
    return [
      ...(defaults.join() === 'local-path'
        ? []
        : [`default StorageClasses: ${defaults.join(', ') || 'none'}; expected local-path alone`]),
      ...(paths.join() === volumes.path ? [] : [`its folder is ${paths.join(', ')}`])
    ].join('\n')
  },
  look: `kubectl get storageclass     # local-path alone is "(default)"
kubectl -n kube-system get configmap local-path-config -o 'jsonpath={.data.config\\.json}'     # ${volumes.path}`,
  within: 60,
  hint: '09_k3s_02 tells K3s the folder'
})

const namespace = 'keybuzz-volume-trial'

/**
 * The step that a pod reads from a volume what the pod before it has written. It makes a namespace for that, and removes it.
 * `busybox` is the image of the pods.
 */
export const volumesOutlivePods = ({ kubectl, signal }: Pick<Run, 'kubectl' | 'signal'>, busybox: string): ClusterStep => ({
  name: 'has volumes that outlive their pods',
  trial: true,
  timeout: 300,
  check: async () => {
    const manifest = await readManifest('04_addons/volume-trial.yaml', { NAMESPACE: namespace, BUSYBOX: busybox })
    // On one node: right after the deletion the Deployment still counts the pod that is gone.
    const isUp = (seconds: number): Promise<string> =>
      until(() => rolloutInWords(kubectl, { kind: 'deployment', namespace, name: 'trial', nodes: 1 }), { seconds, signal })
    return withObjects({ kubectl, manifest, signal }, async () => {
      const first = await isUp(90)
      if (first !== '') return `no pod with a volume came up: ${first}`
      const written = new Date().toISOString()
      await kubectl`-n ${namespace} exec deploy/trial -- sh -c ${`echo ${written} > /data/written`}`
      const pod = await kubectl`-n ${namespace} get pods -o 'jsonpath={.items[0].metadata.name}'`
      await kubectl`-n ${namespace} delete pod ${pod} --timeout=30s`
      const next = await isUp(60)
      if (next !== '') return `no second pod came up with the volume: ${next}`
      const read = (await kubectl`-n ${namespace} exec deploy/trial -- cat /data/written`).trim()
      return read === written ? '' : `the second pod read ${read || 'nothing'}; the first had written ${written}`
    })
  },
  look: `# In the folder of the scripts: a pod writes to a volume, is deleted, and the next one must read "kept".
sed 's,[$]{NAMESPACE},${namespace},; s,[$]{BUSYBOX},${busybox},' manifests/04_addons/volume-trial.yaml | kubectl apply -f -
kubectl -n ${namespace} rollout status deployment/trial --timeout=90s
kubectl -n ${namespace} exec deploy/trial -- sh -c 'echo kept > /data/written'
kubectl -n ${namespace} delete pods --all
sleep 5; kubectl -n ${namespace} rollout status deployment/trial --timeout=60s
kubectl -n ${namespace} exec deploy/trial -- cat /data/written
kubectl delete namespace ${namespace}`,
  hint: 'kubectl -n kube-system logs -l app=local-path-provisioner'
})
