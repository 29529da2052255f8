import { quote } from 'zx'
import { local } from '../base/environment.mts'
import { isAbort } from '../base/errors.mts'
import { kubeconfig } from '../base/home.mts'
import { remembered } from '../base/wait.mts'

type Value = string | number | string[]

/** kubectl as a tagged template. */
export type Command = (pieces: TemplateStringsArray, ...values: Value[]) => Promise<string>

export type KubectlOptions = {
  /** What goes to its stdin. */
  input?: string
  /** Seconds that the command may take in all (default 60). */
  timeout?: number
  /** Ends it (default: the run's own signal). */
  signal?: AbortSignal
  /** Where the API is asked (a URL), and nowhere else. Default: through its load balancer, else at a server that is ready. */
  server?: string
  /** Seconds that a single request may take (default 20; at most 7 through the load balancer). */
  request?: number
}

/**
 * kubectl against the cluster, as a tagged template as in zx. The text is the command that an operator types. Values are
 * quoted. It may have several lines. Returns stdout, throws a KubectlError with kubectl's own message.
 *
 *     await kubectl`-n kube-system get pods -l ${label}`
 *     await kubectl({ input: manifest })`apply --server-side -f -`
 */
export type Kubectl = Command & ((options: KubectlOptions) => Command)

/** Makes a Kubectl from a function that runs one command: the text after `kubectl`. */
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
  /** Gets the k3s binary. It is not called before the first command. */
  k3s: () => Promise<string>
  context: string
  /** The URLs of the servers' own APIs. */
  servers: string[]
  /** Ends every command that has no signal of its own. */
  signal: AbortSignal
  /** Told when a server is asked instead of the load balancer. */
  say: (line: string) => void
}

/** Seconds that a request through the load balancer may take: a server that is ready has the whole time after that. */
const firstTry = 7

/** Milliseconds for which nobody is asked again after no server was ready: dozens of checks would each wait in vain. */
const pause = 10_000

/**
 * The kubectl of a k3s binary, with a context of the bastion's kubeconfig. Where the API does not answer through its load
 * balancer, which may go on sending to a dead server, a server that is ready is asked from then on.
 */
export const createKubectl = ({ k3s, context, servers, signal: whole, say }: Means): Kubectl => {
  const run = async (command: string, options: KubectlOptions): Promise<string> => {
    const { input = '', timeout = 60, request = 20, signal = whole, server } = options
    signal.throwIfAborted()
    const flags = [
      '--kubeconfig', kubeconfig, '--context', context, '--request-timeout', `${request}s`,
      ...(server === undefined ? [] : ['--server', server])
    ]
    const head = [await k3s(), 'kubectl', ...flags].map(quote).join(' ')
    const text = [`${head} ${command}`]
    const late = AbortSignal.timeout(Math.ceil(timeout * 1000))
    const kubectl = local({ input, signal: AbortSignal.any([signal, late]), seconds: timeout + 10, nothrow: true })
    const result = await kubectl(Object.assign(text, { raw: text }))
    signal.throwIfAborted()
    if (result.exitCode === 0) return result.stdout
    if (late.aborted) throw new KubectlError(`kubectl ${command}: timed out after ${timeout} s`, result)
    const words = result.stderr.trim() || `kubectl ${command}: exit ${result.exitCode}`
    if (tooLate.test(words)) throw new ApiAway(`the API does not answer within ${request} s`, result)
    if (nobody.test(words)) throw new ApiAway(`the API does not answer: ${words}`, result)
    const failing = words.match(notReady)
    throw failing ? new ApiAway(`the API is not ready: ${failing.join(', ')}`, result) : new KubectlError(words, result)
  }

  const isReady = (server: string, signal: AbortSignal): Promise<boolean> =>
    run('get --raw /readyz', { server, request: 3, timeout: 5, signal }).then(() => true, (error: unknown) => {
      if (isAbort(error)) throw error
      return false
    })
  const search = async (signal: AbortSignal): Promise<string | undefined> => {
    const ready = await Promise.all(servers.map((server) => isReady(server, signal)))
    return servers.find((_, index) => ready[index])
  }
  const found = remembered(() => search(whole)) // many commands fail at once, and search once
  let instead: string | undefined
  let away: { until: number; error: ApiAway } | undefined

  return kubectlOf(async (command, options) => {
    if (options.server !== undefined) return run(command, options)
    if (away && Date.now() < away.until) throw away.error
    const { request = 20 } = options
    try {
      return await run(command, instead === undefined ? { ...options, request: Math.min(request, firstTry) } : { ...options, server: instead })
    } catch (error) {
      if (!(error instanceof ApiAway)) throw error
      // After an interruption only the signal of the command itself still counts.
      const server = await (options.signal ? search(options.signal) : found.get())
      if (server === undefined) {
        away = { until: Date.now() + pause, error }
        throw error
      }
      if (instead !== server) say(`${error.message}. From now on ${server} is asked, which is ready.`)
      instead = server
      return run(command, { ...options, server })
    }
  })
}

// "Error from server" with a timeout means that the API answers: a kubelet or a webhook timed out. Only etcd counts here.
const tooLate = /^(?!Error from server).*(context deadline exceeded|Client\.Timeout exceeded|i\/o timeout|TLS handshake timeout)|etcdserver: request timed out/m
const nobody = /^Unable to connect to the server|^The connection to the server .* was refused/m
// The failing checks in what /readyz lists, in one quoted line.
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

/** The API of the cluster does not answer, or is not ready. So nothing is known about the object of the command. */
export class ApiAway extends KubectlError {
  override name = 'ApiAway'
  readonly away = 'the API does not answer'
}
