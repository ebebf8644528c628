"""Which roles does `twistd` offer?"""

from twisted.application.service import ServiceMaker

index = ServiceMaker("p2sp resource index", "p2sp.index.tap", "Knows what is where.", "p2sp-index")
manager = ServiceMaker("p2sp super node manager", "p2sp.manager.tap", "Says who shall hold what.", "p2sp-manager")
statistics = ServiceMaker(
    "p2sp statistics server", "p2sp.statistics.tap", "Sums up what trackers report.", "p2sp-statistics"
)
tracker = ServiceMaker(
    "p2sp tracker", "p2sp.tracker.tap", "Names the nodes of a swarm, local ones first.", "p2sp-tracker"
)
supernode = ServiceMaker("p2sp super node", "p2sp.supernode.tap", "Caches what an ISP wants.", "p2sp-supernode")
peer = ServiceMaker("p2sp peer", "p2sp.peer.tap", "Seeds what lies in a folder.", "p2sp-peer")
site = ServiceMaker("p2sp site", "p2sp.site.tap", "Index, tracker, statistics, manager in one process.", "p2sp-site")
