import { until } from '../base/wait.mts'
import { readManifest, withObjects } from '../cluster/objects.mts'
import { netcheck } from '../cluster/pod-network.mts'
import type { Host } from '../input/inventory.mts'
import { whileHeld, type HeldState } from '../node/hold.mts'
import { get, type Answer } from '../reach/http.mts'
import { login } from '../reach/ssh.mts'
import type { Run } from '../run/run.mts'
import type { NodeStep } from '../run/step.mts'
import { checkByHand, inShort, makeCheck, makeChecks, passes, untilVerdict, type Check } from './check.mts'

const listenersOn = (port: number): string => `$(ss -Hltnp 'sport = :${port}' | grep -o 'pid=[0-9]*' | cut -d = -f 2 | sort -u)`

const stateOf = (port: number, begin: string, mend: string): HeldState => ({
  begin: `pids=${listenersOn(port)} || { echo 'nothing listens on ${port}' >&2; exit 1; }\nfor pid in $pids; do ${begin}; done`,
  mend: `for pid in ${listenersOn(port)}; do ${mend}; done`
})

/** nginx answers 503 to the check, and serves every other request. */
export const drains = stateOf(80, 'touch /proc/$pid/root/tmp/drain', 'rm -f /proc/$pid/root/tmp/drain')

/** A stopped process keeps its port and answers nothing, like one that hangs. It goes on as if nothing had been. */
export const isStopped = (port: 80 | 8081): HeldState => stateOf(port, 'kill -STOP $pid', 'kill -CONT $pid')

type Proof = {
  /** Completes "is unhealthy while". */
  what: string
  state: HeldState
  /** Other requests must still be answered meanwhile. */
  serves: boolean
}

/** The step that the check of a host fails while the host is in a state, and passes again once it is mended. */
export const turnsUnhealthy = ({ ssh, signal }: Pick<Run, 'ssh' | 'signal'>, host: Host, check: Check, proof: Proof): NodeStep => {
  const { what, state, serves } = proof
  const seconds = 20 + 2 * check.timeout
  return {
    name: `is unhealthy while ${what}`,
    trial: true,
    timeout: 300,
    check: async () => {
      if (!(await untilVerdict(host.address, check, true, { seconds: 10, signal }))) {
        return `is not healthy to begin with: ${inShort(await makeCheck(host.address, check))}`
      }
      let freed = 0
      const { out, other } = await whileHeld(ssh, host, state, { seconds: seconds + 10, signal }, async () => {
        const seen = await untilVerdict(host.address, check, false, { seconds, signal })
        const meanwhile = seen && serves ? await ask(host, check, nobody) : undefined
        freed = performance.now()
        return { out: seen, other: meanwhile }
      })
      const mending = (performance.now() - freed) / 1000
      const back = await untilVerdict(host.address, check, true, { seconds: 60, signal })
      if (!out) return `the check still answered 200 after ${seconds} s`
      const seen = `${inShort(out.answer)} after ${out.seconds.toFixed(1)} s`
      if (!back) return `${seen}, and not healthy again 60 s after it was mended`
      if (other?.error !== undefined) return `${seen}, and other requests meanwhile: ${other.error}`
      const served = other ? `; other requests were answered meanwhile (${inShort(other)})` : ''
      return `= ${seen}, 200 again ${(mending + back.seconds).toFixed(1)} s after${served}`
    },
    look: `# The node mends itself after ${seconds} s.
ssh ${login(host)} sudo bash <<'END' &
${state.begin}
sleep ${seconds}
${state.mend}
END
sleep 3
${checkByHand(host.address, check)}  # must not be answered 200${serves ? `\n${askByHand(host, check, nobody)}  # must be answered, with 404` : ''}
wait
${checkByHand(host.address, check)}  # 200 again`
  }
}

// No Ingress has this name: the default server answers, with 404.
const nobody = 'nothing.keybuzz.internal'
const application = 'no-endpoints.keybuzz.internal'

const ask = ({ address }: Host, { proxyProtocol }: Check, name: string): Promise<Answer> =>
  get(address, { host: name, proxyProtocol, timeout: 5000 })

const askByHand = ({ address }: Host, check: Check, name: string): string =>
  checkByHand(address, { ...check, host: name, path: '/', timeout: 5 })

/** The step that the check of a host passes while an application answers 502 or 503, for none of its pods is ready. */
export const staysHealthy = async (
  { kubectl, signal }: Pick<Run, 'kubectl' | 'signal'>,
  host: Host,
  check: Check
): Promise<NodeStep> => {
  const { namespace } = netcheck
  const manifest = await readManifest('05_ingress/no-endpoints.yaml', { NAMESPACE: namespace, HOST: application })
  return {
    name: 'is healthy while an application is down',
    trial: true,
    timeout: 300,
    check: () => withObjects({ kubectl, manifest, signal }, async () => {
      let answer: Answer = { milliseconds: 0 }
      const words = await until(async () => {
        answer = await ask(host, check, application)
        return (answer.status ?? 0) >= 500 ? '' : `the application answers ${inShort(answer)} after 30 s, expected 502 or 503`
      }, { seconds: 30, signal })
      if (words !== '') return words
      const [failing] = (await makeChecks(host.address, check, { signal })).filter((one) => !passes(one))
      if (failing) return `the application answers ${inShort(answer)}, and the check ${inShort(failing)}`
      return `= the application answers ${inShort(answer)}, the check 200`
    }),
    look: `kubectl apply -f - <<'END'
${manifest.trimEnd()}
END
sleep 5
${askByHand(host, check, application)}  # 502 or 503
${checkByHand(host.address, check)}  # 200
kubectl -n ${namespace} delete ingress,service no-endpoints`
  }
}
