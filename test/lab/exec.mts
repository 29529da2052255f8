import { PassThrough } from 'node:stream'
import { containerName } from './boot.mts'
import type { Machine } from './containers.mts'
import type { Docker } from './engine.mts'

export type Result = { stdout: string; stderr: string; exitCode: number }

export type ExecOptions = { input?: string; env?: Record<string, string> }

/** A command under way in a container. */
export type Running = {
  done: Promise<Result>
  /** Signals the command itself, not what it started: what an operator's ctrl-C, or a kill -9, does to it. */
  kill: (signal: 'INT' | 'TERM' | 'KILL') => Promise<void>
}

const environment = (env: Record<string, string> | undefined): string[] =>
  Object.entries(env ?? {}).map(([name, value]) => `${name}=${value}`)

/** Runs a command to its end. */
const simply = async (docker: Docker, machine: Machine, argv: string[], { input, env }: ExecOptions): Promise<Result> => {
  const exec = await docker.getContainer(containerName(machine)).exec({
    Cmd: argv,
    Env: environment(env),
    AttachStdin: input !== undefined,
    AttachStdout: true,
    AttachStderr: true,
  })
  const stream = await exec.start({ hijack: true, stdin: input !== undefined })
  const [out, err] = [new PassThrough(), new PassThrough()]
  const texts = Promise.all([text(out), text(err)])
  docker.modem.demuxStream(stream, out, err)
  if (input !== undefined) stream.end(input)
  await new Promise<void>((resolve, reject) => stream.once('end', resolve).once('close', resolve).once('error', reject))
  out.end()
  err.end()
  const [stdout, stderr] = await texts
  return { stdout, stderr, exitCode: (await exec.inspect()).ExitCode ?? -1 }
}

const text = async (stream: PassThrough): Promise<string> => {
  const parts: Buffer[] = []
  for await (const part of stream) parts.push(part as Buffer)
  return Buffer.concat(parts).toString()
}

/** Starts a command in a machine. It leaves its process id in the container, so that it can be signalled. */
export const start = (docker: Docker, machine: Machine, argv: string[], options: ExecOptions = {}): Running => {
  const mark = `/tmp/.lab-${process.pid}-${Math.random().toString(36).slice(2)}`
  const done = simply(docker, machine, ['sh', '-c', 'echo $$ >"$0"; exec "$@"', mark, ...argv], options).finally(() =>
    simply(docker, machine, ['rm', '-f', mark], {}).catch(() => undefined),
  )
  const kill = async (signal: string): Promise<void> => {
    await simply(docker, machine, ['sh', '-c', `kill -${signal} "$(cat "$0")"`, mark], {})
  }
  return { done, kill }
}

/** Runs a command in a machine and waits for its end. */
export const capture = (docker: Docker, machine: Machine, argv: string[], options: ExecOptions = {}): Promise<Result> =>
  simply(docker, machine, argv, options)

/**
 * Runs a command with this process's own terminal, or its plain streams where there is none, and returns its exit code.
 * Without a terminal, SIGINT and SIGTERM are passed on; with one, ctrl-C travels as a key.
 */
export const attach = async (docker: Docker, machine: Machine, argv: string[], options: ExecOptions = {}): Promise<number> => {
  const tty = Boolean(process.stdin.isTTY && process.stdout.isTTY)
  const container = docker.getContainer(containerName(machine))
  const mark = `/tmp/.lab-${process.pid}`
  const exec = await container.exec({
    Cmd: ['sh', '-c', 'echo $$ >"$0"; exec "$@"', mark, ...argv],
    Env: [...environment(options.env), ...(tty ? [`TERM=${process.env['TERM'] ?? 'xterm'}`] : [])],
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: true,
    Tty: tty,
  })
  const stream = await exec.start({ hijack: true, stdin: true, Tty: tty })
  const resize = (): void => {
    const { columns, rows } = process.stdout
    if (columns && rows) void exec.resize({ w: columns, h: rows }).catch(() => undefined)
  }
  const pass = (signal: NodeJS.Signals): void => {
    const command = `kill -${signal.slice(3)} "$(cat "$0")"`
    void simply(docker, machine, ['sh', '-c', command, mark], {}).catch(() => undefined)
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
    await new Promise<void>((resolve, reject) => stream.once('end', resolve).once('close', resolve).once('error', reject))
  } finally {
    process.stdin.unpipe(stream)
    process.stdin.pause()
    if (tty) process.stdin.setRawMode(false)
    process.stdout.off('resize', resize)
    process.off('SIGINT', pass).off('SIGTERM', pass)
    stream.destroy()
    await simply(docker, machine, ['rm', '-f', mark], {}).catch(() => undefined)
  }
  return (await exec.inspect()).ExitCode ?? -1
}
