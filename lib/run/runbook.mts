import { plural } from '../base/words.mts'
import type { Host } from '../input/inventory.mts'
import { contextOf } from '../input/settings.mts'
import { kubectlOf } from '../reach/kubectl.mts'
import { login } from '../reach/ssh.mts'
import { releaseByHand, releaseByName } from '../reach/release.mts'
import { readHeader } from './header.mts'
import { withRoles, type Means, type Run } from './run.mts'
import type { Script } from './script.mts'
import type { NodeStep, Step } from './step.mts'

/** What a runbook is made from. It needs no ssh: no host is contacted. */
type Source = Pick<Means, 'hosts' | 'machines' | 'chosen' | 'settings' | 'signal'>

/**
 * The runbook of scripts, in Markdown: the check and change of each step as shell that an operator can paste, with the
 * values of these hosts, for a night without this tool. It is made only from servers.tsv and settings.yaml, and shows the
 * case of bare nodes.
 */
export const renderRunbook = async (scripts: Script[], flags: never, source: Source): Promise<string> => {
  const chapters: string[] = []
  for (const script of scripts) chapters.push(await chapter(script, flags, source))
  return paragraphs([intro(scripts, source), ...chapters])
}

const paragraphs = (parts: string[]): string => `${parts.map((part) => part.trim()).filter(Boolean).join('\n\n')}\n`

const intro = (scripts: Script[], { hosts, settings }: Source): string => {
  const [first] = scripts
  const folder = settings.k3s.artifacts || `~/.keybuzz/cache/${settings.k3s.version}`
  const context = `${folder}/k3s kubectl --context ${contextOf(settings)}`
  return `# Runbook: ${first && scripts.length === 1 ? `${first.id} ${first.title}` : 'all scripts'}

Environment ${settings.environment}, K3s ${settings.k3s.version}. How to use it:

- It shows what is done with bare nodes. Where a check prints nothing, the step holds: go on to the next one. Lines that
  begin with \`= \` are what was seen, and no fault.
- "On" a node means in a root shell there: log in as below, \`sudo -i\` where you are not root, then \`set +H\`. "From the
  bastion" means your own shell on the bastion. Paste one block at a time.
- On the bastion: \`alias kubectl='${context}'\`. On a server \`k3s kubectl\` works without the load balancer.
- \`<NAME>\` in capitals stands for a value that is not known here. It is explained before it is used. Put the value in its
  place before you paste.

| Node | Role | Pool | Log in |
|---|---|---|---|
${hosts.map((host) => `| ${host.name} | ${host.role} | ${host.pool} | \`ssh ${login(host)}\` |`).join('\n')}`
}

const chapter = async (script: Script, flags: never, source: Source): Promise<string> => {
  const { about, fields } = readHeader(script.file)
  const told: string[] = []
  let steps = 0
  await script.story(storyTold(source, {
    tell: (text) => void told.push(text),
    tellOnce: (text) => void (told.includes(text) || told.push(text)),
    tellSteps: (shared) => {
      let heading: string | undefined // only neighbours share one: the order of the steps stays
      for (const one of shared) {
        if (one.step.name !== heading) told.push(`### ${++steps}. ${one.step.name}`)
        heading = one.step.name
        told.push(...stepInWords(one))
      }
    }
  }), flags)
  const header = Object.entries(fields).filter(([name]) => name !== 'Example').map(([name, text]) => `- ${name}: ${text}`)
  return paragraphs([`## ${script.id}  ${script.title}`, about, header.join('\n'), ...told])
}

type Teller = {
  tell: (text: string) => void
  /** For what a story may ask for several times. */
  tellOnce: (text: string) => void
  tellSteps: (shared: Shared[]) => void
}

const storyTold = (source: Source, { tell, tellOnce, tellSteps }: Teller): Run => {
  const { hosts, chosen, settings } = source
  const nobody = (): never => {
    throw new Error('a story asks only in its steps and with run.ask: a runbook is made without hosts')
  }
  return {
    ...source,
    ...withRoles(hosts),
    mode: 'runbook',
    ssh: { run: nobody, capture: nobody, push: nobody, traffic: { connections: 0, commands: 0 } },
    kubectl: kubectlOf(nobody),
    note: tellOnce,
    skipRest: () => {},
    stands: () => true,
    sick: () => [],
    release: async () => {
      tellOnce(releaseByHand(settings))
      return releaseByName(settings)
    },
    ask: async (some, { what, shell, bare }) => {
      const answer = bare === '' ? 'On a bare node it prints nothing.' : `The answer of a node stands for \`${bare}\` in what follows for it.`
      for (const [text, group] of Map.groupBy(some, shell)) {
        tellOnce(`${onHosts(group)} which ${what}? ${answer}\n\n${block(inSubshell(text))}`)
      }
      return new Map(some.map(({ name }) => [name, bare]))
    },
    on: async (some, stepsOf, { atOnce } = {}) => {
      const asked = some.filter((host) => chosen.includes(host))
      const lists: [Host, NodeStep[]][] = []
      for (const host of asked) lists.push([host, await stepsOf(host)])
      if (atOnce !== undefined && asked.length > 1 && lists.some(([, steps]) => steps.length > 0)) {
        tell(`**${plural(atOnce, 'node')} at a time.** Go through all steps of a node before the next one, and stop at the first that fails.`)
      }
      if (atOnce === undefined) return tellSteps(together(lists))
      for (const list of lists) tellSteps(together([list]))
    },
    once: async (steps, subject) =>
      tellSteps(steps.map((step) => ({ step: subject === undefined ? step : { ...step, name: `${subject}: ${step.name}` }, hosts: [] })))
  }
}

/** A step, and the hosts on which it is the same; none for a step of the cluster. */
type Shared = { step: Step; hosts: Host[] }

const keyOf = ({ name, check, change, look, byHand, hint }: Step): string =>
  JSON.stringify([name, look ?? check, byHand ?? change, hint])

// The steps of all hosts in one order, which keeps each host's own order. Steps whose names differ only by the host's name
// or address stand together. A step that is the same on several hosts is printed once.
const together = (lists: [Host, NodeStep[]][]): Shared[] => {
  const left = lists.map(([host, steps]) => ({
    host, steps: steps.map((step) => ({ step, name: step.name.replaceAll(host.name, 'NODE').replaceAll(host.address, 'ADDRESS') }))
  }))
  const told: Shared[] = []
  for (;;) {
    const open = left.filter(({ steps }) => steps.length > 0)
    if (open.length === 0) return told
    const comesLater = (name: string): boolean =>
      open.some(({ steps }) => steps[0]!.name !== name && steps.some((one) => one.name === name))
    const { name } = (open.find(({ steps }) => !comesLater(steps[0]!.name)) ?? open[0]!).steps[0]!
    const next = open.filter(({ steps }) => steps[0]!.name === name).map(({ host, steps }) => ({ host, step: steps.shift()!.step }))
    for (const same of Map.groupBy(next, ({ step }) => keyOf(step)).values()) {
      told.push({ step: same[0]!.step, hosts: same.map(({ host }) => host) })
    }
  }
}

const onHosts = (hosts: Host[]): string => `On ${hosts.map(({ name }) => name).join(', ')}:`

const stepInWords = ({ step: { check, look, change, byHand, hint, within, always, trial }, hosts }: Shared): string[] => {
  const about = hosts.length > 0 ? `From the bastion, for ${hosts.map(({ name }) => name).join(', ')}:` : 'From the bastion:'
  return [
    ...(typeof check === 'string' ? [onHosts(hosts), block(inSubshell(check))] : [about, block(look ?? '')]),
    ...(typeof change === 'string' ? ['Where it does not hold:', block(inSubshell(change))] : []),
    ...(byHand === undefined ? [] : ['Where it does not hold, by hand:', block(byHand)]),
    ...(change === undefined && always ? ['Do not go on while this does not hold.'] : []),
    ...(within === undefined ? [] : [`It may take ${within} s to hold: check again until then.`]),
    ...(trial ? ['This is a trial: it makes objects of its own and removes them.'] : []),
    ...(hint === undefined ? [] : [`Hint: ${hint}`])
  ]
}

// As the engine runs it. Also, an `exit` must not end the operator's own shell.
const inSubshell = (shell: string): string => `(set -euo pipefail\n${shell}\n)`

const block = (text: string): string => {
  const fence = text.includes('```') ? '````' : '```'
  return `${fence}bash\n${text}\n${fence}`
}
