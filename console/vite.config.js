import { svelte } from '@sveltejs/vite-plugin-svelte'
import tailwindcss from '@tailwindcss/vite'
import { defineConfig } from 'vite'

// Files keep their names from build to build: console.go says of each whether it is still the same.
export default defineConfig({
  base: '/console/',
  plugins: [svelte(), tailwindcss()],
  build: {
    modulePreload: false,
    assetsInlineLimit: 0,
    rolldownOptions: {
      input: ['index.html', 'my.html'],
      output: {
        codeSplitting: { groups: [{ name: 'common', minShareCount: 2 }] },
        entryFileNames: '[name].js',
        chunkFileNames: '[name].js',
        assetFileNames: '[name][extname]',
      },
    },
  },
})
