import { $ } from 'zx'
import { kubeconfig } from '../base/home.mts'
import type { Step } from '../run/step.mts'

/** kubectl against the cluster: returns stdout, throws with kubectl's own words. `input` goes to its stdin. */
export type Kubectl = (args: string[], input?: string) => Promise<string>

// True once the API of the one cluster that this process works on was away, until it answers again.
let away = false

/**
 * The kubectl of a k3s binary, with a context of the bastion's kubeconfig. A request may take 20 seconds. Once the API
 * was away the next ones only ask first whether it is ready, for 2 seconds: dozens of checks would each wait in vain.
 */
export const createKubectl = (k3s: string, context: string): Kubectl => {
  const run = async (args: string[], input: string, seconds: number): Promise<string> => {
    const flags = ['--kubeconfig', kubeconfig, '--context', context, '--request-timeout', `${seconds}s`]
    const result = await $({ input, quiet: true, nothrow: true })`${k3s} kubectl ${flags} ${args}`
    if (result.exitCode === 0) return result.stdout
    const words = result.stderr.trim() || `kubectl ${args[0]}: exit ${result.exitCode}`
    if (tooLate.test(words)) throw new ApiAway(`the API does not answer within ${seconds} s`, result)
    if (nobody.test(words)) throw new ApiAway(`the API does not answer: ${words}`, result)
    const failing = words.match(notReady)
    throw failing ? new ApiAway(`the API is not ready: ${failing.join(', ')}`, result) : new KubectlError(words, result)
  }
  return async (args, input = '') => {
    if (args.includes('--server')) return run(args, input, 20) // one server by itself: not the way that the others take
    try {
      if (away) await run(['get', '--raw', '/readyz'], '', 2)
      away = false
      return await run(args, input, 20)
    } catch (error) {
      away = error instanceof ApiAway
      throw error
    }
  }
}

// What the API itself says has run out of time is another's fault, a kubelet's or a webhook's, unless it is etcd's.
const tooLate = /^(?!Error from server).*(context deadline exceeded|Client\.Timeout exceeded|i\/o timeout|TLS handshake timeout)|etcdserver: request timed out/m
const nobody = /^Unable to connect to the server|^The connection to the server .* was refused/m
// Of what /readyz lists in one quoted line, what fails.
const notReady = /\[-\][^\\"\n]+/g

/** kubectl failed. The message is what it said. */
export class KubectlError extends Error {
  override name = 'KubectlError'
  readonly exitCode: number | null
  readonly stdout: string
  constructor(message: string, { exitCode, stdout }: { exitCode: number | null; stdout: string }) {
    super(message)
    this.exitCode = exitCode
    this.stdout = stdout
  }
}

/** The API of the cluster does not answer, or is not ready: nothing can be said of what was asked for. */
export class ApiAway extends KubectlError {
  override name = 'ApiAway'
}

/** The step that the cluster has the objects of a manifest, as the server would store them. */
export const manifestStep = (kubectl: Kubectl, name: string, manifest: string): Step => ({
  name,
  check: async () => {
    try {
      await kubectl(['diff', '--server-side', '--force-conflicts', '-f', '-'], manifest)
      return ''
    } catch (error) {
      if (!(error instanceof KubectlError)) throw error
      if (/namespaces? .* not found/.test(error.message)) return 'is missing'
      const changed = [...error.stdout.matchAll(/^diff .*\/MERGED-[^/]*\/(\S+)$/gm)].map(([, file = '']) => objectOf(file))
      if (error.exitCode === 1 && changed.length > 0) return `missing or different: ${changed.join(', ')}`
      throw error
    }
  },
  change: async () => void (await kubectl(['apply', '--server-side', '--force-conflicts', '-f', '-'], manifest)),
  within: 30 // an object whose status is just changing can differ from itself
})

// kubectl diff names its files by group.version.Kind.namespace.name.
const objectOf = (file: string): string => {
  const [, kind, namespace, name] = /\bv\d\w*\.([A-Z]\w*)\.([^.]*)\.(.+)$/.exec(file) ?? []
  return kind ? `${kind} ${namespace ? `${namespace}/` : ''}${name}` : file
}

/** What the scripts read of a Kubernetes Node. */
export type Node = {
  metadata: { name: string; labels?: Record<string, string>; annotations?: Record<string, string> }
  spec: { taints?: { key: string; value?: string; effect: string }[] }
  status: {
    conditions?: { type: string; status: string; message?: string }[]
    allocatable?: Record<string, string>
    nodeInfo?: { kubeletVersion: string; containerRuntimeVersion: string; osImage: string; kernelVersion: string }
  }
}

/** Every Node of the cluster by name. */
export const getNodes = async (kubectl: Kubectl): Promise<Map<string, Node>> => {
  const { items } = JSON.parse(await kubectl(['get', 'nodes', '-o', 'json'])) as { items: Node[] }
  return new Map(items.map((node) => [node.metadata.name, node]))
}

/** True where a condition of the node, such as Ready or EtcdIsVoter, is True. */
export const is = (node: Node | undefined, type: string): boolean =>
  node?.status.conditions?.some((condition) => condition.type === type && condition.status === 'True') ?? false
