import { parser, plugin } from 'typescript-eslint'

// Two rules: types and formatting are seen to by tsc and Prettier.
export default [
  { ignores: ['dist/', 'dist-bench/'] },
  {
    files: ['src/**/*.{ts,tsx}', 'test/**/*.ts'],
    languageOptions: { parser, parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    plugins: { '@typescript-eslint': plugin },
    rules: { '@typescript-eslint/no-floating-promises': 'error' },
  },
  {
    // a test is red for whoever breaks something, and not for whoever draws the unlucky number
    files: ['test/**/*.ts'],
    rules: {
      'no-restricted-syntax': [
        'error',
        {
          selector:
            "CallExpression[callee.object.name='fc'][callee.property.name='assert']:not(:has(Property[key.name='seed']))",
          message: 'a property is tried with a fixed seed',
        },
      ],
    },
  },
]
