import Foundation
import KeelCore
import Testing

@testable import KeelHost

@Suite struct CheckpointStoreTests {
    let folder = NSTemporaryDirectory() + "keel-checkpoints-\(UUID().uuidString)"

    private func filled(_ steps: [Int]) throws -> CheckpointStore {
        let store = CheckpointStore(directory: folder)
        for step in steps {
            try store.save(step: step, state: ["step": JSON(step)]) { path in
                try AtomicWrite.file(
                    Files.join(path, "model.safetensors"), "weights of step \(step)")
            }
        }
        return store
    }

    @Test func theNewestCompleteOneIsFound() throws {
        defer { try? Files.remove(folder) }
        let store = try filled([2, 10, 4])
        #expect(store.steps() == [2, 4, 10])
        #expect(store.newest().found?.step == 10)
        #expect(store.newest().damaged.isEmpty)
    }

    @Test(arguments: ["truncated", "changed", "missing", "state cut short", "state gone"])
    func aDamagedOneIsPassedOver(how: String) throws {
        defer { try? Files.remove(folder) }
        let store = try filled([2, 10])
        let model = Files.join(store.path(step: 10), "model.safetensors")
        let state = Files.join(store.path(step: 10), CheckpointStore.stateFile)
        switch how {
        case "truncated": try AtomicWrite.file(model, "weights")
        case "changed": try AtomicWrite.file(model, "weights of step 11")
        case "missing": try Files.remove(model)
        case "state cut short":
            try AtomicWrite.file(state, Array(try Files.read(state).dropLast(20)))
        default: try Files.remove(state)
        }
        let (found, damaged) = store.newest()
        #expect(found?.step == 2)
        #expect(damaged.count == 1)
        #expect(damaged.first?.at?.hasPrefix(store.path(step: 10)) == true)
    }

    @Test func aFailedSaveLeavesNothing() throws {
        defer { try? Files.remove(folder) }
        let store = try filled([2])
        #expect(throws: KeelError.self) {
            try store.save(step: 3, state: [:]) { _ in throw KeelError("io", "disk full", code: .io)
            }
        }
        #expect(try Files.list(folder) == ["checkpoint-2"])
    }

    @Test func onlyTheNewestAreKept() throws {
        defer { try? Files.remove(folder) }
        let store = try filled([1, 2, 3, 4])
        try store.prune(keeping: 2, upTo: 4)
        #expect(store.steps() == [3, 4])
        try store.prune(keeping: nil, upTo: 4)
        #expect(store.steps() == [3, 4])
    }

    /// A run that went on from step 4, because what is in 10 is damaged, keeps what it writes.
    @Test func laterOnesDoNotPushOutTheNewest() throws {
        defer { try? Files.remove(folder) }
        let store = try filled([2, 4, 10])
        try store.prune(keeping: 1, upTo: 4)
        #expect(store.steps() == [4, 10])
    }

    @Test func leftoversOfAKilledWriteGo() throws {
        defer { try? Files.remove(folder) }
        let store = try filled([1])
        try Files.makeDirectory(Files.join(folder, ".checkpoint-2.tmp-77"))
        try store.removeLeftovers()
        #expect(try Files.list(folder) == ["checkpoint-1"])
    }
}
