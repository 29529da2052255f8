#!/usr/bin/env node
import { parseArgs } from 'node:util'
import { messageOf } from '../../lib/base/errors.mts'
import { mend } from './boot.mts'
import { bastion, machine } from './containers.mts'
import { down } from './down.mts'
import { engine } from './engine.mts'
import { attach } from './exec.mts'
import { createProgress } from './progress.mts'
import { realApps } from './real-apps.mts'
import { status } from './status.mts'
import { up } from './up.mts'

const help = `A complete KeyBuzz network on this machine, in containers: eight nodes, a bastion, three load
balancers, the stateful services, Vault.

  npm run lab -- up                 make it, or mend it; nothing where it runs
  npm run lab -- up --real-apps     the same, with the real n8n and Superset instead of stand-ins
  npm run lab -- status             what runs (exit 1 where something does not)
  npm run lab -- shell [MACHINE]    a shell on the bastion, or on another machine
  npm run lab -- run COMMAND ...    a command in the bastion, in the project's folder
  npm run lab -- kubectl ...        kubectl in the bastion
  npm run lab -- down               remove all of it; builds, images and keys stay for the next time
`

const progress = createProgress()

const inBastion = async (argv: string[]): Promise<number> => {
  const there = await engine(progress)
  await mend(there, bastion)
  return attach(there.container.dockerode, bastion, argv)
}

const commands: Record<string, (rest: string[]) => Promise<number>> = {
  up: async (rest) => {
    const { release } = await up(progress, { realApps: realApps(rest) })
    const took = progress.durations()
    if (took) process.stderr.write(`${took}\n`)
    const double = release.official ? '' : ", the lab's double of it (test/lab/k3s/README.md)"
    process.stdout.write(`The lab is up, with K3s ${release.version}${double}.\n`)
    return 0
  },
  down: async () => {
    await down(progress)
    return 0
  },
  status: async () => {
    const { text, running } = await status(progress)
    process.stdout.write(`${text}\n`)
    return running ? 0 : 1
  },
  shell: async ([name = bastion.name]) =>
    attach((await engine(progress)).container.dockerode, machine(name), ['bash']), // a login shell would set PATH anew
  run: inBastion,
  kubectl: (rest) => inBastion(['kubectl', ...rest])
}

const { positionals, values } = parseArgs({
  args: process.argv.slice(2, 3),
  options: { help: { type: 'boolean', short: 'h' } },
  allowPositionals: true,
  strict: false
})
const command = commands[positionals[0] ?? '']
if (!command || values.help) {
  process.stdout.write(help)
  process.exitCode = values.help ? 0 : 64
} else {
  try {
    process.exitCode = await command(process.argv.slice(3))
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n`)
    process.exitCode = 1
  }
}
