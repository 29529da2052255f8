import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import type { Exec } from 'dockerode'
import type { Machine } from './containers.mts'
import type { Docker } from './engine.mts'
import { containerName } from './recipe.mts'

export type Result = { stdout: string; stderr: string; exitCode: number }

export type ExecOptions = { input?: string; env?: Record<string, string> }

export type Signal = 'INT' | 'TERM' | 'KILL'

/** A command under way in a machine. */
export type Running = {
  done: Promise<Result>
  /** Signals the command itself, not what it started: what an operator's ctrl-C, or a kill -9, does to it. */
  kill: (signal: Signal) => Promise<void>
}

const environment = (env: Record<string, string> = {}): string[] =>
  Object.entries(env).map(([name, value]) => `${name}=${value}`)

const ended = (stream: NodeJS.ReadableStream): Promise<void> =>
  new Promise((resolve, reject) => stream.once('end', resolve).once('close', resolve).once('error', reject))

const exitCode = async (exec: Exec): Promise<number> => (await exec.inspect()).ExitCode ?? -1

/** Runs a command in a machine and waits for its end. */
export const capture = async (
  docker: Docker,
  machine: Machine,
  argv: string[],
  { input, env }: ExecOptions = {}
): Promise<Result> => {
  const exec = await docker.getContainer(containerName(machine)).exec({
    Cmd: argv,
    Env: environment(env),
    AttachStdin: input !== undefined,
    AttachStdout: true,
    AttachStderr: true
  })
  const stream = await exec.start({ hijack: true, stdin: input !== undefined })
  const [out, err] = [new PassThrough(), new PassThrough()]
  const texts = Promise.all([text(out), text(err)])
  docker.modem.demuxStream(stream, out, err)
  if (input !== undefined) stream.end(input)
  await ended(stream)
  out.end()
  err.end()
  const [stdout, stderr] = await texts
  return { stdout, stderr, exitCode: await exitCode(exec) }
}

/** A command that leaves its process id in a file of the machine, and how to signal it by that file. */
const signalled = (docker: Docker, machine: Machine, argv: string[]) => {
  const file = `/tmp/.lab-${process.pid}-${Math.random().toString(36).slice(2)}`
  return {
    command: ['sh', '-c', 'echo $$ >"$0"; exec "$@"', file, ...argv],
    kill: async (signal: Signal): Promise<void> => {
      await capture(docker, machine, ['sh', '-c', `kill -${signal} "$(cat "$0")"`, file])
    },
    forget: async (): Promise<void> => {
      await capture(docker, machine, ['rm', '-f', file]).catch(() => undefined)
    }
  }
}

/** Starts a command in a machine. */
export const start = (docker: Docker, machine: Machine, argv: string[], options: ExecOptions = {}): Running => {
  const { command, kill, forget } = signalled(docker, machine, argv)
  return { done: capture(docker, machine, command, options).finally(forget), kill }
}

/**
 * Runs a command with this process's own terminal, or its plain streams where there is none, and returns its exit code.
 * Without a terminal, SIGINT and SIGTERM are passed on; with one, ctrl-C travels as a key.
 */
export const attach = async (docker: Docker, machine: Machine, argv: string[]): Promise<number> => {
  const tty = Boolean(process.stdin.isTTY && process.stdout.isTTY)
  const { command, kill, forget } = signalled(docker, machine, argv)
  const exec = await docker.getContainer(containerName(machine)).exec({
    Cmd: command,
    Env: tty ? [`TERM=${process.env['TERM'] ?? 'xterm'}`] : [],
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: true,
    Tty: tty
  })
  const stream = await exec.start({ hijack: true, stdin: true, Tty: tty })
  const resize = (): void => {
    const { columns, rows } = process.stdout
    if (columns && rows) void exec.resize({ w: columns, h: rows }).catch(() => undefined)
  }
  const pass = (signal: NodeJS.Signals): void => {
    void kill(signal === 'SIGINT' ? 'INT' : 'TERM').catch(() => undefined)
  }
  if (tty) {
    process.stdin.setRawMode(true)
    process.stdout.on('resize', resize)
    resize()
    stream.pipe(process.stdout, { end: false })
  } else {
    docker.modem.demuxStream(stream, process.stdout, process.stderr)
    process.on('SIGINT', pass).on('SIGTERM', pass)
  }
  process.stdin.pipe(stream)
  try {
    await ended(stream)
  } finally {
    process.stdin.unpipe(stream)
    process.stdin.pause()
    if (tty) process.stdin.setRawMode(false)
    process.stdout.off('resize', resize)
    process.off('SIGINT', pass).off('SIGTERM', pass)
    stream.destroy()
    await forget()
  }
  return exitCode(exec)
}
