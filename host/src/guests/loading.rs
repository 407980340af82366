//! Components from bytes to something that can be instantiated: compiled once, imports checked,
//! kept by digest.
//!
//! A component may import only the interfaces of its world (invariant 16); what else it asks for
//! is named in the refusal. Nothing native is ever read from disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::Digest;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker, types::ComponentItem};

use super::bindings::{app, constitution};
use super::call::CallState;

/// Largest component, in bytes (decision 31).
pub const COMPONENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Compiled components kept, per world. Services have one or two in use.
const LOADED_MAX: usize = 8;

/// Which world a component is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum World {
    App,
    Constitution,
}

impl World {
    const fn imports(self) -> &'static [&'static str] {
        match self {
            Self::App => &[
                "concordat:host/kv@0.1.0",
                "concordat:host/crypto@0.1.0",
                "concordat:host/attestation@0.1.0",
                "concordat:host/history@0.1.0",
            ],
            Self::Constitution => &["concordat:host/kv@0.1.0", "concordat:host/credentials@0.1.0"],
        }
    }
}

/// A component that cannot run here. The texts are for whoever proposed it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LoadError {
    /// Too many bytes.
    #[error("component has {0} bytes, more than {COMPONENT_BYTES_MAX}")]
    TooLarge(usize),
    /// Not a component, or one that this engine does not compile.
    #[error("not a component that this host compiles: {0}")]
    Invalid(String),
    /// It asks for an interface that its world does not offer.
    #[error("component imports {0}, which its world does not offer")]
    ForeignImport(String),
    /// This machine had no room or no time to look at it; says nothing about the component.
    #[error("the host was too busy to look at the component: {0}")]
    Busy(String),
    /// It does not export what its world demands.
    #[error("component does not fit its world: {0}")]
    Mismatch(String),
}

/// A compiled component with its imports linked.
pub(crate) enum Loaded {
    App(app::AppPre<CallState>),
    Constitution(constitution::ConstitutionPre<CallState>),
}

/// Compiles and keeps components.
pub(crate) struct Loader {
    pub(crate) engine: Engine,
    app_imports: Linker<CallState>,
    constitution_imports: Linker<CallState>,
    loaded: Mutex<HashMap<(World, Digest), Arc<Loaded>>>,
}

impl Loader {
    pub(crate) fn new(engine: Engine) -> wasmtime::Result<Self> {
        use wasmtime::component::HasSelf;
        let mut app_imports = Linker::new(&engine);
        app::App::add_to_linker::<_, HasSelf<CallState>>(&mut app_imports, |state| state)?;
        let mut constitution_imports = Linker::new(&engine);
        constitution::Constitution::add_to_linker::<_, HasSelf<CallState>>(
            &mut constitution_imports,
            |state| state,
        )?;
        Ok(Self {
            engine,
            app_imports,
            constitution_imports,
            loaded: Mutex::default(),
        })
    }

    /// The component compiled for `world`, from the cache or anew.
    ///
    /// Two threads that miss at the same time compile twice; the second result is dropped. That
    /// costs time and saves holding a lock for the hundred milliseconds of a compilation.
    pub(crate) fn load(&self, world: World, digest: Digest, bytes: &[u8]) -> Result<Arc<Loaded>, LoadError> {
        if let Some(loaded) = self.cached(world, digest) {
            return Ok(loaded);
        }
        let loaded = Arc::new(self.compile(world, bytes)?);
        crate::memory::give_back();
        let mut cache = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        keep(&mut cache, (world, digest), &loaded);
        Ok(loaded)
    }

    fn cached(&self, world: World, digest: Digest) -> Option<Arc<Loaded>> {
        let cache = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get(&(world, digest)).cloned()
    }

    fn compile(&self, world: World, bytes: &[u8]) -> Result<Loaded, LoadError> {
        if bytes.len() > COMPONENT_BYTES_MAX {
            return Err(LoadError::TooLarge(bytes.len()));
        }
        let component =
            Component::from_binary(&self.engine, bytes).map_err(|e| LoadError::Invalid(format!("{e:#}")))?;
        check_imports(&self.engine, world, &component)?;
        let mismatch = |e: wasmtime::Error| LoadError::Mismatch(format!("{e:#}"));
        Ok(match world {
            World::App => {
                let pre = self.app_imports.instantiate_pre(&component).map_err(mismatch)?;
                Loaded::App(app::AppPre::new(pre).map_err(mismatch)?)
            }
            World::Constitution => {
                let pre = self
                    .constitution_imports
                    .instantiate_pre(&component)
                    .map_err(mismatch)?;
                Loaded::Constitution(constitution::ConstitutionPre::new(pre).map_err(mismatch)?)
            }
        })
    }
}

/// Puts one more into the cache; a full one forgets everything first, which costs time alone.
fn keep<T>(cache: &mut HashMap<(World, Digest), Arc<T>>, key: (World, Digest), loaded: &Arc<T>) {
    if cache.len() >= 2 * LOADED_MAX {
        cache.clear();
    }
    cache.insert(key, Arc::clone(loaded));
}

/// Every import must be an interface of the world; bare functions, modules and other packages
/// (WASI first of all) are refused by name.
fn check_imports(engine: &Engine, world: World, component: &Component) -> Result<(), LoadError> {
    for (name, import) in component.component_type().imports(engine) {
        let ours =
            world.imports().contains(&name) && matches!(import.ty, ComponentItem::ComponentInstance(_));
        if !ours {
            return Err(LoadError::ForeignImport(name.to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_of_the_most_bytes_is_looked_at_and_a_larger_one_is_not() {
        let loader = Loader::new(super::super::engine::engine().unwrap()).unwrap();
        let load = |size: usize| {
            let refused = loader.load(World::App, Digest::ZERO, &vec![0; size]);
            refused.map(drop).unwrap_err()
        };
        assert!(matches!(load(COMPONENT_BYTES_MAX), LoadError::Invalid(_)));
        let larger = COMPONENT_BYTES_MAX + 1;
        assert_eq!(load(larger), LoadError::TooLarge(larger));
    }

    #[test]
    fn the_most_components_of_both_worlds_are_kept_and_one_more_empties_the_cache() {
        let mut cache = HashMap::new();
        for world in [World::App, World::Constitution] {
            for number in 0..LOADED_MAX {
                let digest = crypto::sha256(&number.to_be_bytes());
                keep(&mut cache, (world, digest), &Arc::new(()));
            }
        }
        assert_eq!(cache.len(), 2 * LOADED_MAX);
        keep(&mut cache, (World::App, Digest::ZERO), &Arc::new(()));
        assert_eq!(cache.len(), 1);
    }
}
