import { mount } from 'svelte'
import './style.css'
import My from './My.svelte'

mount(My, { target: document.body })
