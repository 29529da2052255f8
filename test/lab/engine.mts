import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { access, readFile, rm } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { getContainerRuntimeClient, type ContainerRuntimeClient } from 'testcontainers'
import { $ } from 'zx'
import type { Progress } from './progress.mts'

export type Engine = Awaited<ReturnType<typeof getContainerRuntimeClient>>
export type Docker = ContainerRuntimeClient['container']['dockerode']

const log = '/var/log/dockerd.log'

const reach = async (): Promise<Engine | undefined> => getContainerRuntimeClient().catch(() => undefined)

const exists = async (file: string): Promise<boolean> => access(file).then(() => true, () => false)

const pidFiles = { '/run/docker.pid': 'dockerd', '/run/docker/containerd/containerd.pid': 'containerd' }

// An engine that was killed leaves its numbers behind. Where another process has one by now, the next does not start.
const forgetDeadEngine = async (): Promise<void> => {
  for (const [file, name] of Object.entries(pidFiles)) {
    const pid = (await readFile(file, 'utf8').catch(() => '')).trim()
    const runs = (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')).trim()
    if (runs !== name) await rm(file, { force: true })
  }
}

/** The Docker engine. Where none answers it is installed and started, or the error says what to do. */
export const engine = async (progress: Progress): Promise<Engine> => {
  const found = await reach()
  if (found) return found
  const debian = await exists('/etc/debian_version')
  if (process.getuid?.() !== 0 || !debian || process.env['DOCKER_HOST'])
    throw new Error(
      [
        'No Docker engine answers, and the lab needs one.',
        process.env['DOCKER_HOST'] ? `DOCKER_HOST is ${process.env['DOCKER_HOST']}.` : '',
        debian
          ? 'Install it with `sudo apt-get install docker.io`, then join its group: `sudo usermod -aG docker $USER`.'
          : 'Install Docker 20.10 or later (docs.docker.com/engine/install) and start it.',
        'As root on Debian or Ubuntu the lab does this by itself.'
      ].filter(Boolean).join('\n')
    )
  return progress.task('Docker engine', async (say) => {
    if (!(await exists('/usr/bin/dockerd')) && !(await exists('/usr/sbin/dockerd'))) {
      say('installing docker.io')
      progress.note('No Docker engine on this machine: installing the package docker.io')
      const apt = $({ env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }, quiet: true })
      await apt`apt-get update`
      await apt`apt-get install -y --no-install-recommends docker.io iptables ca-certificates`
    }
    say('starting')
    if (await exists('/run/systemd/system')) await $({ quiet: true })`systemctl start docker`
    else {
      progress.note(`Starting dockerd, which goes on after this command (log: ${log})`)
      await forgetDeadEngine()
      const output = openSync(log, 'a')
      spawn('dockerd', [], { detached: true, stdio: ['ignore', output, output] }).unref()
      closeSync(output)
    }
    for (let tries = 0; tries < 300; tries++) {
      const started = await reach()
      if (started) return started
      await delay(200)
    }
    throw new Error(`dockerd was started but does not answer within a minute. Its log: ${log}`)
  })
}
