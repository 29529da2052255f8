import { isAbort, messageOf } from '../base/errors.mts'
import { addCommand, declared, deleteCommand, difference, parseState, type Difference } from './firewall-rules.mts'
import { sudo } from './k3s.mts'
import type { Host } from '../input/inventory.mts'
import { lastWords, login, type Ssh } from '../reach/ssh.mts'
import type { Run } from '../run/run.mts'
import type { NodeStep } from '../run/step.mts'

/** Seconds that the node waits for the confirmation of a change, once the commands of the change have ended. */
const PATIENCE = 60

/** How often a new connection is tried before the change is taken back. */
const ATTEMPTS = 3

/**
 * The step that a node's ufw has the rules of the cluster, and the kernel has the rules of ufw. Rules that are not ours
 * are left alone. If one of them opens the cluster's ports to the public, or closes them to the cluster, the check fails and
 * says which. Where ufw is off, it says what listens now and will be closed.
 *
 * A change is confirmed over a new ssh connection. Without the confirmation (the bastion is locked out, killed or
 * disconnected) the node takes its former rules back by itself.
 */
export const firewallStep = (host: Host, { hosts, settings, ssh }: Pick<Run, 'hosts' | 'settings' | 'ssh'>): NodeStep => {
  const compare = async (): Promise<Difference> => {
    const state = parseState(await ssh.capture(host, stateScript(host)))
    if (state.nic === '') throw new Error(`no NIC has the address ${host.address}`)
    const found = difference(declared(host, { hosts, settings, nic: state.nic, ssh: state.ssh }), host, state)
    if (found.conflicts.length > 0) throw new Error(found.conflicts.join('\n'))
    return found
  }
  return {
    name: 'has the firewall of the cluster',
    always: true, // a rule of others in the way is known before anything is changed
    check: async () => (await compare()).words.join('\n'),
    look: `ssh ${login(host)} '${sudo(host)}ufw status verbose; ${sudo(host)}ufw show added'`,
    change: async () => {
      const found = await compare()
      if (found.words.length > 0) await applyAndConfirm(ssh, host, found)
    },
    byHand: rulesByHand(host, { hosts, settings }),
    hint: 'ufw status verbose; ufw show added'
  }
}

const rulesByHand = (host: Host, { hosts, settings }: Pick<Run, 'hosts' | 'settings'>): string => {
  // The host's own address, which no rule of its own has, stands for a bastion inside the private network.
  const rules = declared(host, { hosts, settings, nic: '<NIC>', ssh: { from: host.address, port: '22' } })
  const named = rules.map((rule) => (rule.from === host.address ? { ...rule, from: '<BASTION>' } : rule))
  return `# <BASTION> is the first word that this prints, and the port its last one, where that is not 22:
ssh ${login(host)} 'echo "$SSH_CONNECTION"'
# Then on the node, as root, the rule for ssh first. What listens (ss -lntup) and no rule allows is closed at the end.
${named.map(addCommand).join('\n')}
ufw default deny incoming
ufw default deny routed
systemctl enable ufw.service
ufw --force enable
# Log in once more from the bastion before you close this shell.`
}

/** Prints what `parseState` reads. Read-only, and the same for every node. */
export const stateScript = ({ address }: Host): string => `
echo '# ssh'
connection=\${SSH_CONNECTION:-} process=$$
while [[ -z $connection && $process -gt 1 ]]; do # sudo has taken it out of the environment
  process=$(ps -o ppid= -p "$process" | tr -d ' ')
  connection=$(tr '\\0' '\\n' < "/proc/$process/environ" | sed -n 's/^SSH_CONNECTION=//p')
done
echo "$connection"

echo '# nic'
ip -o -4 address show | awk '{ split($4, at, "/") } at[1] == "${address}" { print $2 }'

echo '# listening'
ss -Hlntup 2>/dev/null || true

command -v ufw >/dev/null || exit 0
echo '# installed'
echo yes

echo '# unconfirmed'
if [[ -e /run/keybuzz-ufw/armed ]]; then echo yes; fi

echo '# settings'
grep -hE '^(ENABLED|DEFAULT_(INPUT|FORWARD)_POLICY)=' /etc/ufw/ufw.conf /etc/default/ufw

echo '# service'
systemctl is-enabled ufw.service || true

echo '# added'
LC_ALL=C ufw show added

echo '# file'
grep -E '^-A ufw-user-(input|forward) ' /etc/ufw/user.rules || true

echo '# kernel'
for chain in INPUT FORWARD ufw-user-input ufw-user-forward; do iptables -w 5 -S "$chain" 2>/dev/null || true; done

echo '# kernel6'
ip6tables -w 5 -S INPUT 2>/dev/null || true`

/** The commands of a change, in an order that locks nobody out on the way. */
export const changeCommands = ({ add, remove, deny, enable, start, reload }: Difference): string[] => [
  ...(enable ? ['ufw disable'] : []), // ufw refuses rules while its files say enabled and the kernel has none
  ...add.map(addCommand),
  ...remove.map(deleteCommand),
  ...deny.map((direction) => `ufw default deny ${direction}`),
  ...(enable ? ['ufw --force enable'] : []),
  ...(start ? ['systemctl enable ufw.service'] : []),
  ...(reload ? ['ufw reload'] : []),
  ...(enable || reload || deny.length > 0 ? [hookCommand] : [])
]

// ufw adds its jumps to the kernel's chains only when it first creates its own chains. A flushed INPUT stays without them.
const hookCommand = `for chain in INPUT FORWARD; do
  for part in before-logging before after after-logging reject track; do
    hook=("$chain" -j "ufw-$part-\${chain,,}")
    iptables -w 5 -C "\${hook[@]}" 2>/dev/null || iptables -w 5 -A "\${hook[@]}"
  done
done`

// `mv armed` decides between the confirmation and the rollback: the second one finds nothing to move.
// If an earlier change was never confirmed, its copy is the last good state.
const changeScript = (commands: string[], seconds: number): string => `
systemctl stop keybuzz-ufw-rollback.timer 2>/dev/null || true
while systemctl is-active --quiet keybuzz-ufw-rollback.service; do sleep 0.2; done
if [[ ! -e /run/keybuzz-ufw/armed ]]; then
  rm -rf /run/keybuzz-ufw
  install -d -m 0700 /run/keybuzz-ufw/etc
  cp -a /etc/ufw/{ufw.conf,{user,user6,after,after6}.rules} /run/keybuzz-ufw/etc
  cp -a /etc/default/ufw /run/keybuzz-ufw/default
  iptables -w 5 -S | grep '^-P' > /run/keybuzz-ufw/policies
  if iptables -w 5 -S ufw-user-input >/dev/null 2>&1; then touch /run/keybuzz-ufw/active; fi
  cat > /run/keybuzz-ufw/rollback <<'ROLLBACK'
set -eu
cd /run/keybuzz-ufw
mv armed taken-back 2>/dev/null || exit 0
cp -a etc/. /etc/ufw
cp -a default /etc/default/ufw
if [ -e active ]; then ufw reload; else /lib/ufw/ufw-init force-stop; fi
while read -r _ chain policy; do iptables -w 5 -P "$chain" "$policy"; done < policies
ROLLBACK
  touch /run/keybuzz-ufw/armed
fi
systemd-run --quiet --collect --unit=keybuzz-ufw-rollback --on-active=${seconds} --timer-property=AccuracySec=1s \\
  bash /run/keybuzz-ufw/rollback
${commands.join('\n')}`

const confirmScript = `if ! mv /run/keybuzz-ufw/armed /run/keybuzz-ufw/confirmed; then
  echo 'the confirmation came too late' >&2
  exit 1
fi
systemctl stop keybuzz-ufw-rollback.timer`

const takeBackScript = `systemctl stop keybuzz-ufw-rollback.timer 2>/dev/null || true
bash /run/keybuzz-ufw/rollback
[[ -e /run/keybuzz-ufw/taken-back ]]`

const applyAndConfirm = async (ssh: Ssh, host: Host, found: Difference): Promise<void> => {
  const commands = changeCommands(found)
  const result = await ssh.run(host, changeScript(commands, PATIENCE + commands.length), { timeout: PATIENCE + commands.length })
  if (result.exitCode !== 0) throw new Error(`${lastWords(result)}\n${await takeBack(ssh, host)}`)
  const problem = await confirm(ssh, host)
  if (problem === undefined) return
  const outcome = await takeBack(ssh, host)
  throw new Error(`the firewall was changed, and then no new ssh connection got through:\n${problem}\n${outcome}`)
}

/** Tells the node over a new connection that the change may stay. Returns why that did not work. */
const confirm = async (ssh: Ssh, host: Host): Promise<string | undefined> => {
  let problem = ''
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    try {
      const result = await ssh.run(host, confirmScript, { fresh: true, timeout: 10 })
      return result.exitCode === 0 ? undefined : lastWords(result)
    } catch (error) {
      if (isAbort(error)) throw error
      problem = messageOf(error)
    }
  }
  return problem
}

// The connection that made the change usually still works, so the node need not wait for its timer.
const takeBack = async (ssh: Ssh, host: Host): Promise<string> => {
  try {
    const result = await ssh.run(host, takeBackScript, { timeout: 30 })
    if (result.exitCode === 0) return 'The node has its former firewall back.'
    return `Its former firewall could not be restored: ${lastWords(result)}`
  } catch (error) {
    if (isAbort(error)) throw error
    return `It takes its former firewall back by itself in less than ${PATIENCE * 2} s.`
  }
}
