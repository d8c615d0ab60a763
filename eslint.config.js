import { parser, plugin } from 'typescript-eslint'

// One rule: types and formatting are seen to by tsc and Prettier.
export default [
  { ignores: ['dist/', 'dist-bench/'] },
  {
    files: ['src/**/*.ts', 'test/**/*.ts'],
    languageOptions: { parser, parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    plugins: { '@typescript-eslint': plugin },
    rules: { '@typescript-eslint/no-floating-promises': 'error' },
  },
]
