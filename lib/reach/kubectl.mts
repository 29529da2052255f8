import { $, quote } from 'zx'
import { kubeconfig } from '../base/home.mts'

type Value = string | number | string[]
type Command = (pieces: TemplateStringsArray, ...values: Value[]) => Promise<string>

export type KubectlOptions = {
  /** What goes to its stdin. */
  input?: string
  /** Seconds that the command may take in all (default 60). A single request may take 20. */
  timeout?: number
  /** Ends it (default: the run's own signal). */
  signal?: AbortSignal
  /** An API server by itself, instead of the load balancer in front of them. */
  server?: string
}

/**
 * kubectl against the cluster, as a tagged template in the manner of zx: what stands there is the command that an
 * operator types: values are quoted, and it may go over several lines. Returns stdout, throws a KubectlError with kubectl's own words.
 *
 *     await kubectl`-n kube-system get pods -l ${label}`
 *     await kubectl({ input: manifest })`apply --server-side -f -`
 */
export type Kubectl = Command & ((options: KubectlOptions) => Command)

/** Makes a Kubectl of a function that runs one command, the text behind `kubectl`. */
export const kubectlOf = (run: (command: string, options: KubectlOptions) => Promise<string>): Kubectl => {
  const withOptions = (options: KubectlOptions): Command => (pieces, ...values) => {
    const words = values.map((value) => (Array.isArray(value) ? value : [String(value)]).map(quote).join(' '))
    const text = pieces.map((piece, index) => piece.replaceAll(/\s*\n\s*/g, ' ') + (words[index] ?? '')).join('')
    return run(text, options)
  }
  const plain = withOptions({})
  return ((first: TemplateStringsArray | KubectlOptions, ...values: Value[]) =>
    'raw' in first ? plain(first, ...values) : withOptions(first)) as Kubectl
}

type Means = {
  /** The k3s binary, which is asked for with the first command. */
  k3s: () => Promise<string>
  context: string
  /** Ends every command that has no signal of its own. */
  signal: AbortSignal
}

/**
 * The kubectl of a k3s binary, with a context of the bastion's kubeconfig. Once the API was away the next commands only
 * ask first whether it is ready, for 2 seconds: dozens of checks would each wait in vain.
 */
export const createKubectl = ({ k3s, context, signal: whole }: Means): Kubectl => {
  // True once the API was away, until it answers again.
  let away = false
  const run = async (command: string, options: KubectlOptions, seconds: number): Promise<string> => {
    const { input = '', timeout = 60, signal = whole, server } = options
    signal.throwIfAborted()
    const flags = [
      '--kubeconfig', kubeconfig, '--context', context, '--request-timeout', `${seconds}s`,
      ...(server === undefined ? [] : ['--server', server])
    ]
    const head = [await k3s(), 'kubectl', ...flags].map(quote).join(' ')
    const text = [`${head} ${command}`]
    // zx's own timeout calls ps in a way that Node warns of, and knows whole seconds only.
    const late = AbortSignal.timeout(Math.ceil(timeout * 1000))
    const kubectl = $({ input, signal: AbortSignal.any([signal, late]), quiet: true, nothrow: true })
    const result = await kubectl(Object.assign(text, { raw: text }))
    signal.throwIfAborted()
    if (result.exitCode === 0) return result.stdout
    if (late.aborted) throw new KubectlError(`kubectl ${command}: timed out after ${timeout} s`, result)
    const words = result.stderr.trim() || `kubectl ${command}: exit ${result.exitCode}`
    if (tooLate.test(words)) throw new ApiAway(`the API does not answer within ${seconds} s`, result)
    if (nobody.test(words)) throw new ApiAway(`the API does not answer: ${words}`, result)
    const failing = words.match(notReady)
    throw failing ? new ApiAway(`the API is not ready: ${failing.join(', ')}`, result) : new KubectlError(words, result)
  }
  return kubectlOf(async (command, options) => {
    if (options.server !== undefined) return run(command, options, 20) // not the way that the others take
    try {
      const { signal } = options
      if (away) await run('get --raw /readyz', signal ? { signal } : {}, 2)
      away = false
      return await run(command, options, 20)
    } catch (error) {
      away = error instanceof ApiAway
      throw error
    }
  })
}

// Where the API itself says that something timed out, that is a kubelet or a webhook, unless it is etcd.
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
