import pMap from 'p-map'
import { quoted } from '../base/errors.mts'
import type { Host } from '../input/inventory.mts'
import { login, type Ssh } from '../reach/ssh.mts'
import type { Power } from './power.mts'

/** How a host is taken away, and how it is given back. */
export type Cut = {
  host: Host
  /** What is done, in words for the report. */
  how: string
  make: (signal: AbortSignal) => Promise<void>
  /** Gives the host back. It may be called again, also where `make` did not get far. */
  undo: (signal: AbortSignal) => Promise<void>
  /** The commands that give it back by hand. */
  byHand: string[]
  /** False where the host cannot come back by itself if the bastion dies. */
  comesBack: boolean
}

/** Seconds after which a node takes a cut back by itself. */
export const DEADLINE = 180

const folder = '/run/keybuzz-drill'
const dropIn = '/run/systemd/system/k3s.service.d/keybuzz-drill.conf'
const timer = 'keybuzz-drill-restore'

// Takes back what a cut has done to the node, and nothing else. It may run any number of times, and fails while a rule of
// ours is left. Our rules are in the table mangle: all packets pass it, those for the node and those through it. In the
// table filter they would not stay first, because kube-proxy, flannel and the network policies keep putting theirs there.
const restoreScript = `set -u
while read -r hook chain; do
  while iptables -w 10 -t mangle -C "$hook" -j "$chain" 2>/dev/null; do
    iptables -w 10 -t mangle -D "$hook" -j "$chain" || exit 1
  done
  iptables -w 10 -t mangle -F "$chain" 2>/dev/null
  iptables -w 10 -t mangle -X "$chain" 2>/dev/null
done <<'END'
PREROUTING KEYBUZZ-DRILL-IN
POSTROUTING KEYBUZZ-DRILL-OUT
END
if [ -e ${folder}/down ]; then
  rm -f ${dropIn}
  systemctl daemon-reload
  systemctl reset-failed k3s 2>/dev/null
  systemctl start --no-block k3s || exit 1
  rm -f ${folder}/down
fi
rules=$(iptables -w 10 -t mangle -S) || exit 1
if grep KEYBUZZ-DRILL >&2 <<<"$rules"; then
  echo 'these rules of the drill are left' >&2
  exit 1
fi`

// Gives a node back at once, whichever drill has cut it off: this one, or one that was killed. Prints "restored" if so.
const undoScript = `if [[ ! -e ${folder}/restore ]]; then exit; fi
bash ${folder}/restore
systemctl stop ${timer}.timer ${timer}.service 2>/dev/null || true
rm -rf ${folder}
echo restored`

// Runs a cut on a node that will take it back by itself: the timer is there before the cut is.
const cutScript = (cut: string): string => `
(${undoScript}
) >&2
install -d -m 0700 ${folder}
cat > ${folder}/restore <<'RESTORE'
${restoreScript}
RESTORE
systemd-run --quiet --collect --unit=${timer} --on-active=${DEADLINE} --timer-property=AccuracySec=1s \\
  --property=Restart=on-failure --property=RestartSec=5 bash ${folder}/restore
systemctl is-active --quiet ${timer}.timer
${cut}`

/** Kills K3s, which systemd does not start again until the node is given back. */
export const killK3s = `touch ${folder}/down
install -d "$(dirname ${dropIn})"
printf '[Service]\\nRestart=no\\n' > ${dropIn}
systemctl daemon-reload
systemctl kill --kill-whom=main -s KILL k3s
for try in {1..50}; do
  [[ $(systemctl is-active k3s) =~ ^(failed|inactive)$ ]] && exit
  sleep 0.1
done
echo 'k3s is still running' >&2
exit 1`

/** Kills every process of a pod, and for some seconds also those that the kubelet starts again in it. */
export const killPod = (uid: string, seconds = 4): string => {
  if (!/^[\w-]+$/.test(uid)) throw new Error(`no pod has such a uid: ${quoted(uid)}`) // it goes into shell
  return `killed='' end=$((SECONDS + ${seconds}))
while ((SECONDS < end)); do
  for file in $(grep -lsE 'pod${uid.replaceAll('-', '[-_]')}' /proc/[0-9]*/cgroup); do
    process=\${file#/proc/}
    if kill -KILL "\${process%/cgroup}" 2>/dev/null; then killed=yes; fi
  done
  sleep 0.2
done
[[ -n $killed ]] || { echo 'no process of the pod was found' >&2; exit 1; }`
}

// The first rules keep the bastion's ssh open. sudo removes SSH_CONNECTION, so it is read from a parent process.
const chains = (rules: string): string => `connection=\${SSH_CONNECTION:-} process=$$
while [[ -z $connection && $process -gt 1 ]]; do
  process=$(ps -o ppid= -p "$process" | tr -d ' ')
  connection=$({ tr '\\0' '\\n' < "/proc/$process/environ" | sed -n 's/^SSH_CONNECTION=//p'; } 2>/dev/null || true)
done
read -r from _ _ port <<<"$connection"
[[ -n $port ]] || { echo 'the node does not say where the ssh connection comes from (SSH_CONNECTION)' >&2; exit 1; }
rule() { iptables -w 10 -t mangle "$@"; }
incoming() { rule -A KEYBUZZ-DRILL-IN "$@"; }
outgoing() { rule -A KEYBUZZ-DRILL-OUT "$@"; }
rule -N KEYBUZZ-DRILL-IN
rule -N KEYBUZZ-DRILL-OUT
incoming -p tcp -s "$from" --dport "$port" -j RETURN
outgoing -p tcp -d "$from" --sport "$port" -j RETURN
${rules}
rule -I PREROUTING -j KEYBUZZ-DRILL-IN
rule -I POSTROUTING -j KEYBUZZ-DRILL-OUT`

/**
 * Drops every packet from and to the node, on any network card, without an answer. Traffic within the node goes on: a
 * kubelet that cannot reach its own pods would restart them.
 */
export const cutOff = chains(`for inside in lo cni0; do
  incoming -i $inside -j RETURN
  outgoing -o $inside -j RETURN
done
incoming -j DROP
outgoing -j DROP`)

/** Drops every packet from and to these addresses; with a port only those of that service there. */
export const partition = (addresses: string[], port?: number): string => {
  const [from, to] = port === undefined ? ['', ''] : [`-p tcp --sport ${port} `, `-p tcp --dport ${port} `]
  return chains(`for other in ${addresses.join(' ')}; do
  incoming ${from}-s "$other" -j DROP
  outgoing ${to}-d "$other" -j DROP
done`)
}

/** A cut that a script makes on the host. */
export const scripted = (ssh: Ssh, host: Host, { how, script }: { how: string; script: string }): Cut => ({
  host,
  how,
  make: async (signal) => void (await ssh.capture(host, cutScript(script), { signal })),
  undo: async (signal) => void (await ssh.capture(host, undoScript, { signal, timeout: 45 })),
  byHand: [`ssh ${login(host)} ${host.user === 'root' ? '' : 'sudo '}bash ${folder}/restore`],
  comesBack: true
})

/** The host loses its power; without power control, all its connections. */
export const dead = (ssh: Ssh, host: Host, power: Power | undefined): Cut => {
  if (!power) return scripted(ssh, host, { how: 'no power control: cut off from everything but the bastion instead', script: cutOff })
  let on = false
  return {
    host,
    how: 'its power is switched off',
    make: () => power.off(host),
    undo: async (signal) => {
      if (!on) await power.on(host)
      on = true
      await ssh.capture(host, 'true', { signal, fresh: true })
    },
    byHand: [`switch ${host.name} on, at the hosting provider's console`],
    comesBack: false
  }
}

/** Takes back what a killed drill has left on the hosts. Returns the names of those on which there was something. */
export const clean = async (ssh: Ssh, hosts: Host[], signal: AbortSignal): Promise<string[]> => {
  const said = await pMap(hosts, async (host) =>
    ((await ssh.capture(host, undoScript, { signal, timeout: 45 })) === '' ? '' : host.name))
  return said.filter(Boolean)
}
