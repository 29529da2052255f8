import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { cache } from './place.mts'

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

/** Runs `work` while no other process of this user changes the lab; waits for one that does, and says so once. */
export const locked = async <T,>(wait: (pid: number) => void, work: () => Promise<T>): Promise<T> => {
  await mkdir(cache, { recursive: true, mode: 0o700 })
  const file = join(cache, 'lab.lock')
  for (let told = false; ; told = true) {
    const free = await writeFile(file, String(process.pid), { flag: 'wx' }).then(() => true, () => false)
    if (free) break
    const holder = Number(await readFile(file, 'utf8').catch(() => ''))
    if (!holder || !alive(holder)) {
      await rm(file, { force: true })
      continue
    }
    if (!told) wait(holder)
    await delay(300)
  }
  const release = (): Promise<void> => rm(file, { force: true })
  try {
    return await work()
  } finally {
    await release()
  }
}
