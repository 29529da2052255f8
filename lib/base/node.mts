/**
 * Why this Node cannot run the scripts, in one line, or ''. Before 24.2 `import.meta.main` is missing: a script would do
 * nothing and exit with 0.
 */
export const tooOld = (version: string, root: string): string => {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major > 24 || (major === 24 && minor >= 2)) return ''
  return `Node 24.2 or later is needed, this is ${version}. Run: export PATH=${root}/node_modules/.bin:$PATH`
}
