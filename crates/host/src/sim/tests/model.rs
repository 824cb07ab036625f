//! Random changes against a model: a set, and two tables of what stands on what.

use super::*;
use banger_core::plan::{plan_delete, plan_stop};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// What must be there for an object to be made.
fn needs(role: Role) -> &'static [Role] {
    match role {
        role if INSIDE_VM_DIR.contains(&role) => &[Role::VmDir],
        Role::RootSnapshot => &[Role::RootCow, Role::RootTail],
        Role::Tap => &[Role::Bridge],
        Role::ImageDir => &[Role::ImageDraft],
        Role::Vmm => &[Role::VmDir, Role::RuntimeDir],
        _ => &[],
    }
}

/// What must not be there for an object to be removed.
fn holders(role: Role) -> &'static [Role] {
    match role {
        Role::RootClone | Role::WorkDisk | Role::RootSnapshot => &[Role::Vmm],
        Role::RootCow | Role::RootTail => &[Role::Vmm, Role::RootSnapshot],
        _ => &[],
    }
}

const INSIDE_VM_DIR: [Role; 5] =
    [Role::RootClone, Role::RootCow, Role::RootTail, Role::WorkDisk, Role::Initrd];

#[derive(Debug, Clone, Copy)]
enum Op {
    Ensure(u64, Role),
    Remove(u64, Role),
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let target = || (1u64..=2, proptest::sample::select(Role::ALL.to_vec()));
    prop_oneof![
        8 => target().prop_map(|(vm, role)| Op::Ensure(vm, role)),
        5 => target().prop_map(|(vm, role)| Op::Remove(vm, role)),
        1 => Just(Op::Reopen),
    ]
}

/// A host with all that a resource may ask of one.
fn open(lab: &Lab) -> SimHost {
    lab.open_with(|options| options.gatekeepers = Gatekeeper::ALL.to_vec())
}

struct Model<'a> {
    lab: &'a Lab,
    there: BTreeSet<Observed>,
}

impl Model<'_> {
    fn seen(&self, vm: u64, role: Role) -> Observed {
        world::observed(&self.lab.resource(vm, role))
    }

    fn has(&self, vm: u64, role: Role) -> bool {
        self.there.contains(&self.seen(vm, role))
    }

    fn may_ensure(&self, vm: u64, role: Role) -> bool {
        // A VMM that runs, runs on without the directory that it was started in.
        // An image does without what it was made in.
        let is_there = matches!(role, Role::Vmm | Role::ImageDir) && self.has(vm, role);
        is_there || needs(role).iter().all(|needed| self.has(vm, *needed))
    }

    fn may_remove(&self, vm: u64, role: Role) -> bool {
        !self.has(vm, role) || !holders(role).iter().any(|holder| self.has(vm, *holder))
    }

    fn remove(&mut self, vm: u64, role: Role) {
        if role == Role::VmDir && self.has(vm, role) {
            for inside in INSIDE_VM_DIR {
                self.there.remove(&self.seen(vm, inside));
            }
        }
        self.there.remove(&self.seen(vm, role));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_inventory_is_what_was_ensured_and_not_removed(
        ops in proptest::collection::vec(op(), 0..60),
    ) {
        let lab = Lab::new();
        let mut host = open(&lab);
        let mut model = Model { lab: &lab, there: BTreeSet::new() };
        for op in ops {
            match op {
                Op::Ensure(vm, role) => {
                    let resource = lab.resource(vm, role);
                    let may = model.may_ensure(vm, role);
                    prop_assert_eq!(host.ensure(&resource).is_ok(), may, "{:?}", op);
                    if may {
                        if role == Role::ImageDir && !model.has(vm, role) {
                            model.remove(vm, Role::ImageDraft);
                        }
                        model.there.insert(model.seen(vm, role));
                        // An initrd is written anew each time.
                        let again = host.ensure(&resource).unwrap();
                        prop_assert_eq!(again == Change::Changed, role == Role::Initrd);
                    }
                }
                Op::Remove(vm, role) => {
                    let resource = lab.resource(vm, role);
                    let (may, had) = (model.may_remove(vm, role), model.has(vm, role));
                    let change = host.remove(&resource);
                    prop_assert_eq!(change.is_ok(), may, "{:?}", op);
                    if may {
                        prop_assert_eq!(change.unwrap() == Change::Changed, had);
                        model.remove(vm, role);
                        prop_assert_eq!(host.remove(&resource).unwrap(), Change::Unchanged);
                    }
                }
                Op::Reopen => {
                    drop(host);
                    host = open(&lab);
                }
            }
            let there: Vec<_> = model.there.iter().cloned().collect();
            prop_assert_eq!(host.inventory().unwrap(), there);
        }
    }
}

const METHODS: [OverlayMethod; 3] =
    [OverlayMethod::Reflink, OverlayMethod::DmSnapshot, OverlayMethod::Copy];

fn remove_all(host: &SimHost, plan: &[Resource]) {
    for resource in plan {
        assert_eq!(host.remove(resource).unwrap(), Change::Changed, "{resource:?}");
    }
}

#[test]
fn a_start_a_stop_and_a_delete_leave_nothing() {
    for method in METHODS {
        let lab = Lab::new();
        let host = open(&lab);
        let plan = lab.plan_over(1, method);
        for resource in lab.network().iter().chain(&plan) {
            assert_eq!(host.ensure(resource).unwrap(), Change::Changed, "{resource:?}");
        }
        remove_all(&host, &plan_stop(plan.clone()));
        remove_all(&host, &lab.network());
        assert!(roles(&host).into_iter().all(Role::persists), "{method:?}");
        let kept = plan.into_iter().filter(|resource| resource.role().persists()).collect();
        remove_all(&host, &plan_delete(kept));
        assert_eq!(roles(&host), [], "{method:?}");
        assert!(!lab.layout.vm(&vm_id(1)).dir.exists());
    }
}

#[test]
fn leftovers_are_removed_by_what_was_seen_of_them() {
    let lab = Lab::new();
    let host = open(&lab);
    lab.start(&host, 1);
    let mut inventory = host.inventory().unwrap();
    inventory.sort_by_key(|seen| std::cmp::Reverse(seen.key.role()));
    for seen in inventory {
        let leftover = seen.leftover(&lab.layout).expect("a name that can be read");
        assert_eq!(host.remove(&leftover).unwrap(), Change::Changed, "{seen:?}");
    }
    assert_eq!(roles(&host), []);
}

/// A thousand VMs must be no burden: a change costs the same however many objects there are.
#[test]
fn a_thousand_vms_cost_the_last_no_more_than_the_first() {
    const VMS: u64 = 1000;
    let lab = Lab::new();
    let host = open(&lab);
    for resource in lab.network() {
        let _change = host.ensure(&resource).unwrap();
    }
    let plans: Vec<_> = (1..=VMS).map(|number| lab.plan(number)).collect();
    let time = |plans: &[Vec<Resource>]| {
        let start = Instant::now();
        for resource in plans.iter().flatten() {
            let _change = host.ensure(resource).unwrap();
        }
        start.elapsed()
    };
    let (first, rest) = plans.split_at(200);
    let (middle, last) = rest.split_at(600);
    let (first, middle, last) = (time(first), time(middle), time(last));
    let start = Instant::now();
    let objects = host.inventory().unwrap().len();
    let inventory = start.elapsed();
    drop(host);
    let start = Instant::now();
    let host = open(&lab);
    let reopen = start.elapsed();
    let per_ensure = (first + middle + last) / u32::try_from(objects).unwrap();
    println!(
        "{objects} objects: {per_ensure:?} per ensure (first 200 VMs {first:?}, last 200 {last:?}), \
         inventory {inventory:?}, reopen {reopen:?}"
    );
    assert_eq!(host.inventory().unwrap().len(), objects);
    assert!(last < first * 4 + Duration::from_secs(2), "{first:?} then {last:?}");
    let start = Instant::now();
    for plan in plans {
        remove_all(&host, &plan_delete(plan));
    }
    println!("{:?} per remove", start.elapsed() / u32::try_from(objects).unwrap());
}
