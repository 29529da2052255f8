import { createHash, randomBytes } from 'node:crypto'
import { mkdir, open, readdir, rename, rm, type FileHandle } from 'node:fs/promises'
import { dirname, join } from 'node:path'

export type DownloadOptions = {
  /** The sum that the file must have. A file with another one is deleted. */
  sha256?: string
  signal?: AbortSignal | undefined
  /** Seconds without a single byte after which it is given up (default 60). */
  patience?: number
  /** Called at each tenth. `total` is undefined where the server does not say it. */
  progress?: (bytes: number, total: number | undefined) => void
}

/** The server answered with something other than the file. */
export class HttpError extends Error {
  readonly status: number

  constructor(url: string, status: number, statusText: string) {
    super(`GET ${url}: ${status} ${statusText}`.trim())
    this.name = 'HttpError'
    this.status = status
  }
}

const reasonOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error && error.cause.message ? error.cause.message : error.message
}

const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

/** The name of the file while it is written. Nobody else uses it: `.PID.RANDOM.part`. */
export const partOf = (file: string): string => `${file}.${process.pid}.${randomBytes(4).toString('hex')}.part`

/** Deletes what killed downloads have left in the folder. */
export const sweep = async (folder: string): Promise<void> => {
  for (const name of await readdir(folder)) {
    const pid = /\.(\d+)\.\w+\.part$/.exec(name)?.[1]
    if (pid !== undefined && !isRunning(Number(pid))) await rm(join(folder, name), { force: true })
  }
}

const request = async (url: string, signal: AbortSignal) => {
  // Without compression: the checksum is of the plain file.
  const response = await fetch(url, { signal, headers: { 'accept-encoding': 'identity' } })
  if (!response.ok || !response.body) throw new HttpError(url, response.status, response.statusText)
  if (url.startsWith('https:') && !response.url.startsWith('https:')) {
    throw new Error(`it was redirected to ${response.url}, which is not encrypted`)
  }
  const length = Number(response.headers.get('content-length') ?? NaN)
  return { body: response.body, total: Number.isFinite(length) ? length : undefined }
}

/**
 * Downloads the file and returns its SHA-256 in hex. It gets its name only when it is complete. Until then it has the
 * name that `partOf` gives, and an interrupted download starts again.
 */
export const download = async (
  url: string,
  file: string,
  { sha256, signal, patience = 60, progress }: DownloadOptions = {}
): Promise<string> => {
  const part = partOf(file)
  const stalled = new AbortController()
  const timer = setTimeout(() => stalled.abort(new Error(`no data for ${patience} s`)), patience * 1000)
  const stop = AbortSignal.any([stalled.signal, ...(signal ? [signal] : [])])
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  let output: FileHandle | undefined // `await using` is no syntax before Node 24, which then could not say that it is too old
  try {
    const { body, total } = await request(url, stop)
    const hash = createHash('sha256')
    let bytes = 0
    let tenths = 0
    output = await open(part, 'w', 0o600)
    for await (const chunk of body) {
      timer.refresh()
      hash.update(chunk)
      await output.writeFile(chunk)
      bytes += chunk.length
      const reached = total === undefined ? 0 : Math.floor((bytes / total) * 10)
      if (reached > tenths) progress?.(bytes, total)
      tenths = reached
    }
    if (total !== undefined && bytes !== total) throw new Error(`it ended after ${bytes} of ${total} bytes`)
    const found = hash.digest('hex')
    if (sha256 !== undefined && found !== sha256) {
      throw new Error(`its SHA-256 is ${found}, expected ${sha256}`)
    }
    await output.sync()
    await rename(part, file)
    return found
  } catch (error) {
    await rm(part, { force: true })
    signal?.throwIfAborted()
    if (error instanceof HttpError) throw error
    throw new Error(`GET ${url}: ${stalled.signal.aborted ? reasonOf(stalled.signal.reason) : reasonOf(error)}`, {
      cause: error
    })
  } finally {
    await output?.close()
    clearTimeout(timer)
  }
}
