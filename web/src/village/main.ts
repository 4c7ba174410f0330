import '../style/base.css';
import { mount } from 'svelte';
import Village from './Village.svelte';

const target = document.getElementById('app');
if (target) mount(Village, { target });
